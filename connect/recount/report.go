package recount

import (
	"cmp"
	"fmt"
	"io"
	"math/big"
	"slices"
	"text/tabwriter"
	"time"
)

// Report is what a recount has found.
type Report struct {
	Source     string
	Partitions []Partition
	Compared   int64   // keys
	Differing  int64   // of them
	Missing    int64   // of those: not in Quipu
	Extra      int64   // of those: only in Quipu
	Texts      int64   // of those: in Quipu something that is no whole number
	Sum, Total big.Int // of the differences, Quipu − recounted; and of their sizes
	Largest    []Difference
	Other      int64 // keys that are not compared: other commands write them
	Ending     int64 // keys that are not compared: their deadline is near, or has passed
	Bad        int64 // records that cannot be read, and are not set aside
	Repaired   int64 // keys
	doubts     []doubt
	notes      []string
}

// Partition is how far one partition was recounted.
type Partition struct {
	Name     string
	From, To string // places
	Records  int64  // between them
}

// Difference is a key whose value is not what its records come to.
type Difference struct {
	Key       string
	Live      int64 // 0 where there is none
	Recounted int64
	Text      bool // what Quipu has is no whole number
	deadline  int64
}

// off is how much Quipu has too much; what is no number counts as 0.
func (d *Difference) off() *big.Int {
	return new(big.Int).Sub(big.NewInt(d.Live), big.NewInt(d.Recounted))
}

// repairable reports whether an increment mends it.
func (d *Difference) repairable() bool {
	return !d.Text && d.off().IsInt64() && d.Recounted-d.Live != -1<<63
}

const (
	largest = 10
	slack   = time.Minute // clocks of machines differ: what ends within it is not compared
)

// doubt notes why the recount may not be exact. A later text about the same takes the place of an earlier one.
func (r *Report) doubt(about, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	for i := range r.doubts {
		if r.doubts[i].about == about {
			r.doubts[i].text = text
			return
		}
	}
	r.doubts = append(r.doubts, doubt{about, text})
}

type doubt struct{ about, text string }

// Doubtful reports whether the recount may not be exact; why is in what Print writes.
func (r *Report) Doubtful() bool { return len(r.doubts) > 0 }

func (r *Report) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(r.notes, text) {
		r.notes = append(r.notes, text)
	}
}

func (r *Report) begin(v *vector) {
	r.Partitions = r.Partitions[:0]
	for _, name := range v.names() {
		r.Partitions = append(r.Partitions, Partition{Name: name, From: fmt.Sprint(v.positions[name].Start)})
	}
}

// reached notes how far the shadow is counted.
func (r *Report) reached(v *vector, s *shadow) {
	for i := range r.Partitions {
		p := &r.Partitions[i]
		p.To, p.Records = v.positions[p.Name].At, s.read[p.Name]
	}
	r.Bad = s.bad
}

// compare compares one key.
func (r *Report) compare(e *entry, v value, now time.Time) (d Difference, differs bool) {
	near := now.Add(slack).UnixMilli()
	switch {
	case e.other || e.records == 0 && v.exists && !v.number:
		r.Other++
		return d, false
	case e.deadline != 0 && e.deadline <= near || v.deadline != 0 && v.deadline <= near:
		r.Ending++
		return d, false
	}
	r.Compared++
	d = Difference{Key: e.key, Live: v.n, Recounted: e.n, Text: v.exists && !v.number, deadline: v.deadline}
	if !v.exists {
		d.deadline = e.deadline
	}
	off := d.off()
	if off.Sign() == 0 && !d.Text {
		return d, false
	}
	r.Differing++
	switch {
	case d.Text:
		r.Texts++
	case !v.exists:
		r.Missing++
	case e.records == 0:
		r.Extra++
	}
	r.Sum.Add(&r.Sum, off)
	r.Total.Add(&r.Total, new(big.Int).Abs(off))
	r.keep(d)
	return d, true
}

// keep keeps the largest differences.
func (r *Report) keep(d Difference) {
	r.Largest = append(r.Largest, d)
	slices.SortStableFunc(r.Largest, func(a, b Difference) int {
		return cmp.Or(b.off().CmpAbs(a.off()), cmp.Compare(a.Key, b.Key))
	})
	r.Largest = r.Largest[:min(len(r.Largest), largest)]
}

// Print writes the report for people.
func (r *Report) Print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, p := range r.Partitions {
		fmt.Fprintf(w, "%s\tfrom %s to %s\t%d records\n", p.Name, p.From, p.To, p.Records)
	}
	fmt.Fprintf(w, "\nkeys compared\t%d\n", r.Compared)
	fmt.Fprintf(w, "keys differing\t%d\tmissing in Quipu %d, only in Quipu %d, no number in Quipu %d\n", r.Differing, r.Missing, r.Extra, r.Texts)
	fmt.Fprintf(w, "sum of differences\t%+d\tQuipu − recounted; of their sizes: %d\n", &r.Sum, &r.Total)
	fmt.Fprintf(w, "keys not compared\t%d\tother commands write them %d, their deadline is near or has passed %d\n", r.Other+r.Ending, r.Other, r.Ending)
	if r.Repaired > 0 {
		fmt.Fprintf(w, "keys repaired\t%d\n", r.Repaired)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(r.Largest) > 0 {
		fmt.Fprintf(w, "\nKEY\tIN QUIPU\tRECOUNTED\tDIFFERENCE\n")
	}
	for _, d := range r.Largest {
		live := fmt.Sprint(d.Live)
		if d.Text {
			live = "no number"
		}
		fmt.Fprintf(w, "%q\t%s\t%d\t%+d\n", d.Key, live, d.Recounted, d.off())
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if r.Bad > 0 {
		fmt.Fprintf(out, "\n%d records cannot be read with this configuration, and are not set aside\n", r.Bad)
	}
	for _, text := range r.notes {
		fmt.Fprintf(out, "\nnote: %s\n", text)
	}
	for _, d := range r.doubts {
		fmt.Fprintf(out, "\nnot exact: %s\n", d.text)
	}
	return nil
}
