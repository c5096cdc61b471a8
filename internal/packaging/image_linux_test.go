package packaging

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"quipu/internal/redistest"
)

// dockerfile is the instructions of ops/Dockerfile, of both stages.
func dockerfile(t *testing.T) (lines []string) {
	t.Helper()
	for line := range strings.Lines(read(t, filepath.Join(ops, "Dockerfile"))) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return lines
}

// words of an instruction in its exec form, ["a", "b"].
func execForm(t *testing.T, lines []string, instruction string) (words []string) {
	t.Helper()
	for _, line := range lines {
		if list, ok := strings.CutPrefix(line, instruction+" ["); ok {
			for _, m := range regexp.MustCompile(`"([^"]*)"`).FindAllStringSubmatch(list, -1) {
				words = append(words, m[1])
			}
		}
	}
	if words == nil {
		t.Fatalf("the Dockerfile has no %s", instruction)
	}
	return words
}

// TestDockerContext: the build gets the folders that the program is made of, and those only.
func TestDockerContext(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./cmd/quipu")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"LICENSE", "go.mod", "go.sum"}
	for _, path := range strings.Fields(string(out)) {
		if below, ours := strings.CutPrefix(path, "quipu/"); ours {
			top, _, _ := strings.Cut(below, "/")
			want = append(want, top)
		}
	}
	slices.Sort(want)
	want = slices.Compact(want)
	var got []string
	for line := range strings.Lines(read(t, filepath.Join(ops, "Dockerfile.dockerignore"))) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "!"); ok {
			got = append(got, name)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("Dockerfile.dockerignore lets through %q, and the program is made of %q", got, want)
	}
}

// buildAsDocker runs the instruction that builds the program, on what the build gets, and returns the program.
func buildAsDocker(t *testing.T) string {
	t.Helper()
	src, out := t.TempDir(), t.TempDir()
	for line := range strings.Lines(read(t, filepath.Join(ops, "Dockerfile.dockerignore"))) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "!"); ok {
			if text, err := exec.Command("cp", "-r", filepath.Join(root, name), src).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
		}
	}
	for _, line := range dockerfile(t) {
		command, ok := strings.CutPrefix(line, "RUN ")
		if !ok || !strings.Contains(command, "go build") {
			continue
		}
		cmd := exec.Command("sh", "-c", strings.ReplaceAll(command, "/out/", out+"/"))
		cmd.Dir = src
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, text)
		}
		return filepath.Join(out, "quipu")
	}
	t.Fatal("the Dockerfile builds nothing")
	return ""
}

// TestImage stands for docker build and docker run, where there is no docker: the program is built as the Dockerfile says, and runs
// in a root folder that has only what the image has, as its user.
func TestImage(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program anew")
	}
	lines := dockerfile(t)
	path := buildAsDocker(t)
	program, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	if slices.ContainsFunc(program.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC }) {
		t.Error("the program needs libraries, and the image has none")
	}
	if !slices.Contains(lines, "USER 65532:65532") || !slices.Contains(lines, "WORKDIR /data") || !slices.Contains(lines, "FROM scratch") ||
		!slices.Contains(lines, "COPY --from=build --chown=65532:65532 /out/data /data") {
		t.Fatal("the image has another user, or another root than this test")
	}
	if os.Getuid() != 0 {
		t.Skip("only root may change the root folder and the user")
	}
	image := imageRoot(t, path)
	port := redistest.FreePort(t)
	run := func(words []string, more ...string) *exec.Cmd {
		cmd := exec.Command(words[0], append(slices.Clone(words[1:]), more...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: image, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
		cmd.Dir, cmd.Env = "/data", []string{"QUIPU_REQUIREPASS=secret"}
		return cmd
	}
	node := append(execForm(t, lines, "ENTRYPOINT"), execForm(t, lines, "CMD")...)
	health := execForm(t, lines, "HEALTHCHECK --interval=10s --timeout=5s --start-period=10m --retries=3 CMD")
	address := "127.0.0.1:" + strconv.Itoa(port)
	if out, err := run(health, "--addr", address).CombinedOutput(); err == nil {
		t.Errorf("no node, and the health check says %s", out)
	}
	server := run(node, "--port", strconv.Itoa(port), "--bind", "127.0.0.1") // tests keep to loopback
	stderr, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Process.Kill() }()
	awaitLine(t, stderr, "ready to accept connections")
	for _, cmd := range []*exec.Cmd{run(health, "--addr", address), without(run(health, "--addr", address))} {
		if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "PONG") {
			t.Errorf("the health check: %v, %s", err, out)
		}
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := server.Wait(); err != nil {
		t.Errorf("the node ends with %v", err)
	}
	if files := listed(t, filepath.Join(image, "data")); len(files) == 0 || !strings.HasPrefix(files[0], "quipu-data/") {
		t.Errorf("the volume has %q", files)
	}
}

// without runs a command without a password.
func without(cmd *exec.Cmd) *exec.Cmd {
	cmd.Env = []string{"HOME=/"}
	return cmd
}

// imageRoot is a folder with what the second stage copies.
func imageRoot(t *testing.T, program string) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) { // the image's user must be able to enter it
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(dir, "data"), 65532, 65532); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(program, filepath.Join(dir, "quipu")); err != nil {
		t.Fatal(err)
	}
	return dir
}
