package ports

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// TestTaken: a port that another process took, or listens on, is not given again until that ends.
func TestTaken(t *testing.T) {
	if os.Getenv("QUIPU_TEST_TAKES_PORT") != "" {
		p, err := Take()
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString(strconv.Itoa(p.Number) + "\n")
		bufio.NewReader(os.Stdin).ReadString('\n')
		return
	}
	other := exec.Command(os.Args[0], "-test.run=^TestTaken$")
	other.Env = append(os.Environ(), "QUIPU_TEST_TAKES_PORT=1")
	in, _ := other.StdinPipe()
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if p := try(number); p != nil {
		t.Errorf("port %d is another process's", number)
	}
	in.Close()
	other.Wait()
	p := try(number)
	if p == nil {
		t.Fatalf("port %d is not free after its owner ended", number)
	}
	if again := try(number); again != nil {
		t.Errorf("port %d is given twice", number)
	}
	p.Close()
	for _, busy := range []int{number, number + PeerOffset} {
		l, err := net.Listen("tcp", loopback("127.0.0.1", busy))
		if err != nil {
			t.Fatal(err)
		}
		if p := try(number); p != nil {
			t.Errorf("port %d is given though somebody listens on %d", number, busy)
		}
		l.Close()
	}
}
