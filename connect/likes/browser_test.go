package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"quipu/connect/internal/testbed"
)

var screenshots = flag.Bool("screenshots", false, "write docs/likes-*.png")

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// programs is a folder with all programs of the demo.
func programs(t *testing.T) string {
	dir := t.TempDir()
	for name, path := range map[string]string{
		"quipu": testbed.ServerProgram(t), "quipu-connect": testbed.Program(t, "./cmd/quipu-connect"), "kfake": testbed.Program(t, "./testbed/kfake"),
	} {
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// start runs the demo, and ends it with the test; then nothing may be left of it.
func start(t *testing.T, opt options) (d *demo, url string) {
	t.Helper()
	opt.programs, opt.listen = programs(t), "127.0.0.1:0"
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	ready := make(chan string, 1)
	go func() {
		ended <- run(ctx, opt, func(running *demo, at string) {
			d = running
			ready <- at
		})
	}()
	select {
	case url = <-ready:
	case err := <-ended:
		stop()
		t.Fatal(err)
	case <-time.After(2 * time.Minute):
		stop()
		t.Fatalf("the demo does not start: %v", <-ended)
	}
	t.Cleanup(func() {
		if t.Failed() {
			showLogs(t, d)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(d.system.Dir); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", d.system.Dir, err)
		}
		list, _ := d.crew.Status()
		for _, p := range list {
			if _, err := os.Stat(fmt.Sprint("/proc/", p.PID)); p.PID != 0 && err == nil {
				t.Errorf("%s still runs, process %d", p.Name, p.PID)
			}
		}
	})
	return d, url
}

// showLogs shows how the logs of all parts end.
func showLogs(t *testing.T, d *demo) {
	paths, _ := filepath.Glob(filepath.Join(d.system.Dir, "*.log"))
	for _, path := range paths {
		text, _ := os.ReadFile(path)
		t.Logf("%s ends:\n%s", filepath.Base(path), text[max(0, len(text)-1500):])
	}
}

// tab is a page in a browser.
type tab struct {
	*testing.T
	ctx context.Context

	mu   sync.Mutex
	said []string // errors and warnings of the browser
}

// browse opens the page in a real browser.
func browse(t *testing.T, url string) *tab {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(testbed.Tool(t, "chromium")), chromedp.WindowSize(1280, 900))
	if os.Geteuid() == 0 {
		opts = append(opts, chromedp.NoSandbox)
	}
	allocator, end := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(end)
	ctx, closeTab := chromedp.NewContext(allocator)
	t.Cleanup(closeTab)
	p := &tab{T: t, ctx: ctx}
	if err := chromedp.Do(ctx); err != nil { // starts the browser, which must not end with a limit of this step
		t.Fatal(err)
	}
	if err := chromedp.Listen(ctx, p.hear); err != nil {
		t.Fatal(err)
	}
	p.do("open the page", chromedp.Navigate(url))
	p.await("the posts", `document.querySelectorAll(".cord").length === 8`)
	return p
}

// hear keeps what the browser complains about. That a server is away for a moment is no fault of the page.
func (p *tab) hear(event any) {
	text := ""
	switch e := event.(type) {
	case *log.EventEntryAdded:
		text = e.Entry.Text
	case *runtime.EventExceptionThrown:
		text = fmt.Sprint(e.ExceptionDetails.Text, e.ExceptionDetails.Exception)
	}
	if text != "" {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.said = append(p.said, text)
	}
}

const stepLimit = 90 * time.Second

// do carries out steps.
func (p *tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, stepLimit)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.Fatalf("%s: %v", what, err)
	}
}

// await waits until an expression is true.
func (p *tab) await(what, js string) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, stepLimit)
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](js, chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(stepLimit))); err != nil {
		p.Fatalf("waiting for %s: %v; the page says:\n%s", what, err, p.text("main"))
	}
}

// text is what a person reads in an element.
func (p *tab) text(selector string) string {
	p.Helper()
	text, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](fmt.Sprintf("document.querySelector(%q).innerText", selector)))
	if err != nil {
		p.Fatal(err)
	}
	return text
}

func (p *tab) click(selector string) { p.Helper(); p.do("click "+selector, chromedp.Click(selector)) }

// met waits until the three numbers are the same, and returns it.
func (p *tab) met() string {
	p.Helper()
	p.await("the numbers to meet", `document.querySelector("#meet").classList.contains("met")`)
	js := `["sent", "counted", "sql"].map((id) => document.getElementById(id).textContent).join(" ")`
	text, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](js))
	if err != nil {
		p.Fatal(err)
	}
	n := strings.Fields(text)
	if len(n) != 3 || n[0] != n[1] || n[1] != n[2] {
		p.Fatalf("the numbers that have met are %s", text)
	}
	return n[0]
}

// TestPage is what a person would do: click, open the firehose, kill each part, wait, and see that the three numbers meet.
func TestPage(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute; the race detector sees the parts in their own tests")
	}
	testbed.Tool(t, "chromium")
	d, url := start(t, options{broker: "kfake"})
	play(browse(t, url), d)
}

// TestPageKafka is the same with Apache Kafka.
func TestPageKafka(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	testbed.Tool(t, "chromium")
	d, url := start(t, options{broker: "kafka", kafka: testbed.KafkaScript(t)})
	play(browse(t, url), d)
}

// sketchesMet: the top ten is of the counts that the cords show.
const sketchesMet = `(() => {
	const [, estimate, exact] = document.querySelector("#top li").children;
	return (exact.textContent === "exact" ? estimate : exact).textContent === document.querySelector(".cord .number").textContent;
})()`

const firstPost = `document.querySelector(".cord .number").textContent`

func play(p *tab, d *demo) {
	p.click(`[data-post="p1"]`)
	if n := p.text(".cord .number"); n != "1" {
		p.Errorf("after a click the post has %s likes", n)
	}
	p.click(`[data-post="p1"]`)
	p.do("like by keyboard", chromedp.Focus(`[data-post="p1"]`), chromedp.KeyEvent("\r"))
	p.await("the third like", firstPost+` === "3"`)
	p.await("the broker's answers", `document.getElementById("sent").textContent === "3"`)
	if n := p.met(); n != "3" {
		p.Fatalf("after three likes there are %s", n)
	}
	p.await("one fan", `document.querySelector(".fans").innerText.replaceAll("\n", " ") === "fan ≈ 1 = 1"`)

	p.do("open the firehose", chromedp.SetJavascriptAttribute("#rate", "value", "820"), chromedp.Focus("#fire"), chromedp.KeyEvent(" "))
	if on, rate, _ := d.fire.State(); !on && rate == 500 {
		p.await("the firehose", `document.getElementById("fire-state").textContent === "on"`)
	}
	p.await("some likes", `Number(document.getElementById("counted").textContent.replaceAll(",", "")) > 5000`)
	for i, what := range []string{"leader", "connector", "broker"} {
		p.await("something to kill", fmt.Sprintf(`!document.querySelector('[data-kill="%s"]').disabled`, what))
		p.click(fmt.Sprintf(`[data-kill="%s"]`, what))
		p.await("what was lost by the "+what, fmt.Sprintf(`document.querySelectorAll("#log .good").length === %d`, i+1))
		if text := p.text("#log .good"); text != "Lost: nothing." {
			p.Errorf("of the %s it says: %s", what, text)
		}
	}
	p.await("the chart", `document.querySelector("#chart .bars").getAttribute("d").length > 50`)
	p.await("the top ten", `document.querySelectorAll("#top li").length === 10`)
	if *screenshots {
		p.await("a chart that shows something", `document.querySelector("#chart .bars").getAttribute("d").split("z").length > 38`)
	}
	for _, v := range views {
		p.view(v)
	}
	p.do("close the firehose", chromedp.Focus("#fire"), chromedp.KeyEvent(" "))
	p.await("the end of the firehose", `document.getElementById("fire-state").textContent === "off"`)
	n := p.met()
	p.await("the sketches", sketchesMet)
	p.do("leave the switch", chromedp.Blur("#fire"))
	p.view(views[len(views)-1]) // once more, as the numbers have met
	p.Logf("%s likes\n%s", n, p.text("#log"))
	if bad := p.text("#log"); strings.Count(bad, "Lost: nothing.") != 3 {
		p.Errorf("the log says:\n%s", bad)
	}
	truth(p, d, n)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.said) > 0 {
		p.Errorf("the browser complains: %q", p.said)
	}
}

// truth asks broker, Quipu and database without the demo's own code in between.
func truth(p *tab, d *demo, want string) {
	topic, err := d.producer.InTopic(p.Context())
	if err != nil || thousands(topic) != want {
		p.Errorf("the topic has %d likes (%v), the page says %s", topic, err, want)
	}
	var keys []any
	for rank := 1; rank <= 1000; rank++ {
		keys = append(keys, fmt.Sprint("likes:p", rank))
	}
	reply, err := d.client.Do(p.Context(), append([]any{"MGET"}, keys...)...)
	values, isList := reply.([]any)
	if err != nil || !isList {
		p.Fatalf("MGET: %v, %v", reply, err)
	}
	sum := int64(0)
	for _, v := range values {
		n := int64(0)
		if text, found := v.(string); found {
			fmt.Sscan(text, &n)
		}
		sum += n
	}
	if thousands(sum) != want {
		p.Errorf("Quipu has counted %d likes, the page says %s", sum, want)
	}
}

// view is a browser as people have it.
type view struct {
	name    string // of the picture
	width   int64
	scheme  string
	options []chromedp.EmulateViewportOption
}

var views = []view{
	{"dark", 1280, "dark", nil},
	{"phone", 360, "light", []chromedp.EmulateViewportOption{chromedp.EmulateMobile}},
	{"light", 1280, "light", nil},
}

// view checks that the page fits, and takes a picture of it where -screenshots asks for that.
func (p *tab) view(v view) {
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: v.scheme}}}
	if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, media); err != nil {
		p.Fatal(err)
	}
	p.do("resize", chromedp.EmulateViewport(v.width, 900, v.options...), chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, 1, 1))
	p.await("the page to fit", fmt.Sprintf("document.documentElement.scrollWidth <= %d", v.width))
	if !*screenshots {
		return
	}
	picture, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		p.Fatal(err)
	}
	if err := save("../../docs/likes-"+v.name+".png", picture); err != nil {
		p.Fatal(err)
	}
}

// save writes a picture in half the size that the browser made it: with 6 bits for a colour, and packed better.
func save(path string, picture []byte) error {
	from, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		return err
	}
	to := image.NewRGBA(from.Bounds())
	draw.Draw(to, to.Bounds(), from, from.Bounds().Min, draw.Src)
	for i := range to.Pix {
		if i%4 != 3 {
			to.Pix[i] = to.Pix[i]&^3 | to.Pix[i]>>6
		}
	}
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, to); err != nil {
		return err
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}
