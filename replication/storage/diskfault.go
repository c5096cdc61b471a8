//go:build diskfault

package storage

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// DiskFaultDir names the environment variable that says where the file is that breaks the disk of this process: <dir>/<pid>,
// with "slow <milliseconds>" or "fail" in it. Programs of users do not have this: chaos tests build with the tag.
const DiskFaultDir = "QUIPU_DISK_FAULT_DIR"

// diskFault is called before each sync of a segment.
func diskFault() error {
	b, err := os.ReadFile(filepath.Join(os.Getenv(DiskFaultDir), strconv.Itoa(os.Getpid())))
	if err != nil {
		return nil // the disk works
	}
	what, ms, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	switch n, _ := strconv.Atoi(ms); what {
	case "slow":
		time.Sleep(time.Duration(n) * time.Millisecond)
	case "fail":
		return fmt.Errorf("the disk fails because a test wants it")
	}
	return nil
}
