package testbed

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// moduleDir is the folder of the connect module, and root that of the checkout, as this file was compiled.
func moduleDir() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

func root() string { return filepath.Dir(moduleDir()) }

// Required tells whether a test that cannot find what it needs must fail instead of being skipped: in CI, or when
// QUIPU_REQUIRE_REDIS is set.
func Required() bool {
	return os.Getenv("CI") == "true" || os.Getenv("QUIPU_REQUIRE_REDIS") == "1"
}

// lack skips the test because something is not installed, or fails it where Required says so.
func lack(tb testing.TB, format string, args ...any) {
	tb.Helper()
	if Required() || os.Getenv(PulsarEnv) == "1" {
		tb.Fatalf(format, args...)
	}
	tb.Skipf(format, args...)
}

// Tool is the path of an installed program, such as kcat. Without it the test is skipped, or fails where Required says so.
func Tool(tb testing.TB, name string) string {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		lack(tb, "%s: %v; `make tools` installs it", name, err)
	}
	return path
}

// KafkaScript is the script that starts Apache Kafka, for a test that starts it by other means than StartKafka.
func KafkaScript(tb testing.TB) string {
	tb.Helper()
	return startScript(tb, "kafka", "`make tools`")
}

// PulsarEnv is set to 1 where tests that need Pulsar must not be skipped: its jars take two minutes to install, so they are there
// only where somebody wants them.
const PulsarEnv = "QUIPU_REQUIRE_PULSAR"

// startScript is the start.sh of a broker, whose jars are installed as testbed/jars.sh does it; hint says how.
func startScript(tb testing.TB, broker, hint string) string {
	tb.Helper()
	Tool(tb, "java")
	dir := filepath.Join(moduleDir(), "testbed", broker)
	pom, err := os.ReadFile(filepath.Join(dir, "pom.xml"))
	if err != nil {
		tb.Fatal(err)
	}
	done, err := os.ReadFile(filepath.Join(root(), ".tools", broker+".done"))
	sum := sha256.Sum256(pom)
	if err == nil && strings.TrimSpace(string(done)) != hex.EncodeToString(sum[:]) {
		err = errors.New("the jars are those of another pom.xml")
	}
	switch {
	case err != nil && broker == "pulsar" && os.Getenv(PulsarEnv) != "1":
		tb.Skipf("%s: %v; `make test-pulsar` installs and runs it", broker, err)
	case err != nil:
		lack(tb, "%s: %v; %s installs it", broker, err, hint)
	}
	return filepath.Join(dir, "start.sh")
}

// loopback is the address of a port.
func loopback(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// listens is an error when nobody listens at the address.
func listens(addr string) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err == nil {
		err = c.Close()
	}
	return err
}
