package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// streams is the same count by Kafka Streams (streams/Streams.java), exactly once.
type streams struct {
	*lab
	classPath string
}

const streamsFolder = "connect/bench/streams" // in the checkout

// prepareStreams fetches the jars, the first time, and compiles the program; nil: that cannot be done here.
func (l *lab) prepareStreams(ctx context.Context) (*streams, error) {
	for _, tool := range []string{"java", "javac"} {
		if _, err := exec.LookPath(tool); err != nil {
			l.skip(theStreams, "there is no "+tool)
			return nil, nil
		}
	}
	jars, err := l.streamsJars(ctx)
	if err != nil {
		if ctx.Err() == nil {
			l.skip(theStreams, err.Error())
			err = nil
		}
		return nil, err
	}
	classes := filepath.Join(l.work, "classes")
	source := filepath.Join(l.root, streamsFolder, "Streams.java")
	if err := command(ctx, "javac", "-cp", filepath.Join(jars, "*"), "-d", classes, source); err != nil {
		return nil, err
	}
	logged := filepath.Join(l.root, ".tools", "kafka", "lib", "*") // the broker's jars have what writes slf4j's messages
	return &streams{l, strings.Join([]string{classes, filepath.Join(jars, "*"), logged}, string(os.PathListSeparator))}, nil
}

// streamsJars is the folder with the jars of Kafka Streams, which Maven fetches the first time (96 MB).
func (l *lab) streamsJars(ctx context.Context) (string, error) {
	pom := filepath.Join(l.root, streamsFolder, "pom.xml")
	text, err := os.ReadFile(pom)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	key := hex.EncodeToString(sum[:])
	dir := filepath.Join(l.root, ".tools", "kafka-streams")
	done := dir + ".done"
	if has, err := os.ReadFile(done); err == nil && strings.TrimSpace(string(has)) == key {
		return filepath.Join(dir, "lib"), nil
	}
	if _, err := exec.LookPath("mvn"); err != nil {
		return "", fmt.Errorf("its jars are not here, and neither is mvn")
	}
	logf("fetching the jars of Kafka Streams; this is done once")
	fresh, err := os.MkdirTemp(filepath.Dir(dir), "kafka-streams.new.")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(fresh)
	if err := command(ctx, "mvn", "-B", "-q", "-Dstyle.color=never", "-f", pom, "dependency:copy-dependencies",
		"-DincludeScope=runtime", "-DoutputDirectory="+filepath.Join(fresh, "lib")); err != nil {
		return "", err
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.Rename(fresh, dir); err != nil {
		return "", err
	}
	return filepath.Join(dir, "lib"), os.WriteFile(done, []byte(key+"\n"), 0o644)
}

// command runs a program to its end.
func command(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

var streamsSeconds = regexp.MustCompile(`counted \d+ in ([\d.]+) s`)

// turn counts with a new application. The time is from the first event that the program saw; that of starting Java is not in it,
// other than in the processors' time.
func (s *streams) turn(ctx context.Context, round int) error {
	application := fmt.Sprintf("streams-%d", round)
	dir, err := os.MkdirTemp(s.work, "streams-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	by := "field"
	if s.cfg.keyed {
		by = "key"
	}
	p, err := s.start("streams", "java", "-Xmx1g", "-Dlog4j2.level=error", "-Djava.io.tmpdir="+dir, "-cp", s.classPath, "Streams",
		s.broker.addr, catchUpTopic, application, dir, strconv.Itoa(s.cfg.events), strconv.Itoa(s.cfg.threads), by)
	if err != nil {
		return err
	}
	defer p.kill()
	limited, cancel := context.WithTimeout(ctx, catchUpLimit)
	defer cancel()
	if err := p.wait(limited); err != nil {
		return err
	}
	m := streamsSeconds.FindStringSubmatch(p.tail())
	if m == nil {
		return p.explain(fmt.Errorf("it does not say how long it took"))
	}
	seconds, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return err
	}
	s.add(theStreams, time.Duration(seconds*float64(time.Second)), p)
	return s.broker.deleteTopics(ctx, application)
}
