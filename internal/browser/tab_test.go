package browser

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"quipu/internal/redistest"
)

var screenshots = flag.Bool("screenshots", false, "write docs/console-*.png")

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

// tab is a page in a browser.
type tab struct {
	*testing.T
	ctx  context.Context
	home string // all that the page may ask for begins so

	mu    sync.Mutex
	said  []string // errors and warnings of the browser
	asked []string // what the page has asked of others
}

// browse opens a page in a real browser.
func browse(t *testing.T, home string) *tab {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(redistest.Tool(t, "chromium")), chromedp.WindowSize(1280, 900))
	if os.Geteuid() == 0 {
		opts = append(opts, chromedp.NoSandbox)
	}
	allocator, end := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(end)
	ctx, closeTab := chromedp.NewContext(allocator)
	t.Cleanup(closeTab)
	p := &tab{T: t, ctx: ctx, home: home}
	if err := chromedp.Do(ctx); err != nil { // starts the browser, which must not end with a limit of this step
		t.Fatal(err)
	}
	if err := chromedp.Listen(ctx, p.hear); err != nil {
		t.Fatal(err)
	}
	p.do("open the page", chromedp.Navigate(home))
	return p
}

// hear keeps what the browser complains about, and what the page asks for elsewhere. That a login is wanted is no fault of the page.
func (p *tab) hear(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if !strings.Contains(e.Entry.Text, "401") {
			p.said = append(p.said, e.Entry.Text)
		}
	case *runtime.EventExceptionThrown:
		p.said = append(p.said, fmt.Sprint(e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, p.home) {
			p.asked = append(p.asked, e.Request.URL)
		}
	}
}

// complaints is what the browser has found wrong.
func (p *tab) complaints() (said, elsewhere []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said, p.asked
}

const stepLimit = 60 * time.Second

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
		p.Fatalf("waiting for %s: %v; the page says:\n%s", what, err, p.eval(`document.body.innerText`))
	}
}

// eval is an expression's text.
func (p *tab) eval(js string) string {
	p.Helper()
	text, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](js))
	if err != nil {
		p.Fatalf("%s: %v", js, err)
	}
	return text
}

// text is what a person reads in an element.
func (p *tab) text(selector string) string {
	p.Helper()
	return p.eval(fmt.Sprintf("document.querySelector(%q).innerText", selector))
}

// set gives a field a value.
func (p *tab) set(selector, value string) {
	p.Helper()
	p.eval(fmt.Sprintf("document.querySelector(%q).value = %q", selector, value))
}

// press presses keys.
func (p *tab) press(keys string) {
	p.Helper()
	p.do("press "+keys, chromedp.KeyEvent(keys))
}

// scheme has the browser prefer light or dark.
func (p *tab) scheme(name string) {
	p.Helper()
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}}
	if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, media); err != nil {
		p.Fatal(err)
	}
}

// fits checks that nothing of the page is beside a window of a width.
func (p *tab) fits(width int64) {
	p.Helper()
	p.do("resize", chromedp.EmulateViewport(width, 900), chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, 1, 1))
	p.await("the page to fit", fmt.Sprintf("document.documentElement.scrollWidth <= %d", width))
}

// picture takes a picture where -screenshots asks for that.
func (p *tab) picture(name string) {
	p.Helper()
	if !*screenshots {
		return
	}
	shot, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		p.Fatal(err)
	}
	if err := save("../../docs/"+name+".png", shot); err != nil {
		p.Fatal(err)
	}
}

// save writes a picture smaller than the browser made it: with 6 bits for a colour, and packed better.
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
