package main

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

//go:embed data/flights-20k.csv.gz
var flightsGz []byte

// flight is what the example counts of one record.
type flight struct {
	day         string // 2001/01/31
	origin      string
	destination string
	delay       int64 // minutes; negative when early
}

// openFlights opens a CSV file, or the one in the program when path is empty.
func openFlights(path string) (io.Reader, error) {
	raw := flightsGz
	if path != "" {
		var err error
		if raw, err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	if path == "" || strings.HasSuffix(path, ".gz") {
		return gzip.NewReader(bytes.NewReader(raw))
	}
	return bytes.NewReader(raw), nil
}

// loadFlights reads the flights the options ask for.
func loadFlights(opt options) ([]flight, error) {
	r, err := openFlights(opt.file)
	if err != nil {
		return nil, err
	}
	flights, err := readFlights(r)
	if err != nil {
		return nil, fmt.Errorf("reading flights: %w", err)
	}
	if opt.limit > 0 && opt.limit < len(flights) {
		flights = flights[:opt.limit]
	}
	return flights, nil
}

// readFlights parses the file. Columns are found by the names in its first line.
func readFlights(r io.Reader) ([]flight, error) {
	rows := csv.NewReader(r)
	rows.ReuseRecord = true
	header, err := rows.Read()
	if err != nil {
		return nil, err
	}
	column := map[string]int{}
	for i, name := range header {
		column[name] = i
	}
	for _, name := range []string{"date", "origin", "destination", "delay_minutes"} {
		if _, ok := column[name]; !ok {
			return nil, fmt.Errorf("no column %q", name)
		}
	}
	var flights []flight
	for {
		row, err := rows.Read()
		if err == io.EOF {
			return flights, nil
		}
		if err != nil {
			return nil, err
		}
		delay, err := strconv.ParseInt(row[column["delay_minutes"]], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", len(flights)+1, err)
		}
		day, _, _ := strings.Cut(row[column["date"]], " ") // the time follows
		flights = append(flights, flight{
			day:         strings.Clone(day),
			origin:      strings.Clone(row[column["origin"]]),
			destination: strings.Clone(row[column["destination"]]),
			delay:       delay,
		})
	}
}
