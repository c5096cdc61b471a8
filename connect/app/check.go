package app

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"time"

	"quipu/connect/config"
	"quipu/connect/mapping"
)

func (p *Program) check(_ context.Context, args []string) error {
	words, err := p.parse(args, 1, 1, nil)
	if err != nil {
		return err
	}
	cfg, err := p.load(words[0])
	if err != nil {
		return err
	}
	for _, src := range cfg.Sources {
		if !needsHeader(src) {
			continue
		}
		if _, err := p.Kinds[src.Kind].Compile(src); err != nil {
			return err
		}
	}
	if _, err := cfg.Quipu.TLSConfig(); err != nil {
		return err
	}
	fmt.Fprintf(p.Out, "%s is correct: %d sources into, and %d sinks out of, %v\n", cfg.File, len(cfg.Sources), len(cfg.Sinks), cfg.Quipu.Nodes)
	return nil
}

// test prints the commands that records from the input, one a line, come to. Nothing is sent.
func (p *Program) test(_ context.Context, args []string) error {
	words, err := p.parse(args, 1, 2, nil)
	if err != nil {
		return err
	}
	cfg, err := p.load(words[0])
	if err != nil {
		return err
	}
	var src *config.Source
	switch {
	case len(words) == 2:
		if src, _, err = find(cfg, words[1]); err != nil {
			return err
		}
	case len(cfg.Sources) != 1:
		return fmt.Errorf("%s has %d sources: name one", cfg.File, len(cfg.Sources))
	default:
		src = cfg.Sources[0]
	}
	in := bufio.NewScanner(p.In)
	in.Buffer(nil, 2<<20)
	program, err := testProgram(src, in)
	if err != nil {
		return err
	}
	tally, bad := program.NewTally(), 0
	for n := 1; in.Scan(); n++ {
		if len(bytes.TrimSpace(in.Bytes())) == 0 {
			continue
		}
		tally.Reset()
		counted, late, err := tally.Add(in.Bytes(), time.Now())
		switch {
		case err != nil:
			bad++
			fmt.Fprintf(p.Err, "record %d: %v\n", n, err)
		case !counted:
			fmt.Fprintf(p.Err, "record %d: filtered by when\n", n)
		case late > 0:
			fmt.Fprintf(p.Err, "record %d: %d commands are late: their bucket has expired\n", n, late)
		}
		if _, err := tally.WriteTo(p.Out); err != nil {
			return err
		}
	}
	if bad > 0 {
		return errors.Join(fmt.Errorf("%d records cannot be counted", bad), in.Err())
	}
	return in.Err()
}

// testProgram reads the names of columns from the input, where the source's file would name them.
func testProgram(src *config.Source, in *bufio.Scanner) (*mapping.Program, error) {
	if !needsHeader(src) {
		return mapping.Compile(src)
	}
	if !in.Scan() {
		return nil, errors.Join(errors.New("the first line has to name the columns"), in.Err())
	}
	columns, err := csv.NewReader(bytes.NewReader(in.Bytes())).Read()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("the first line does not name columns: %w", err)
	}
	named := *src
	named.Columns = columns
	return mapping.Compile(&named)
}
