package app

import (
	"context"
	"flag"
	"fmt"

	"quipu/connect/config"
	"quipu/connect/mapping"
	"quipu/connect/recount"
)

// recount counts a source again and compares; with -repair it adds what differs. The error says what differs, and still does.
func (p *Program) recount(ctx context.Context, args []string) error {
	o := recount.Options{Keys: recount.DefaultKeys, Passes: 1, Batch: recount.DefaultBatch}
	base := ""
	words, err := p.parse(args, 2, 2, func(f *flag.FlagSet) {
		f.StringVar(&base, "base", "", "")
		f.BoolVar(&o.Repair, "repair", false, "")
		f.BoolVar(&o.Force, "force", false, "")
		f.IntVar(&o.Passes, "passes", o.Passes, "")
		f.IntVar(&o.Keys, "keys", o.Keys, "")
		f.IntVar(&o.Batch, "batch", o.Batch, "")
	})
	if err != nil {
		return err
	}
	if o.Keys < 1 || o.Batch < 1 || o.Batch > recount.MaxBatch || o.Passes < 1 || o.Passes > recount.MaxPasses {
		return fmt.Errorf("-keys begins at 1, -batch is from 1 to %d, -passes from 1 to %d", recount.MaxBatch, recount.MaxPasses)
	}
	cfg, err := p.load(words[0])
	if err != nil {
		return err
	}
	src, partition, err := find(cfg, words[1])
	if err != nil {
		return err
	}
	if partition != "" {
		return fmt.Errorf("records of all partitions may count into one key, so a source is recounted as a whole: name %s", src.Name)
	}
	client, err := p.dial(ctx, cfg)
	if err != nil {
		return err
	}
	defer client.Close()
	if o.Job, err = p.job(src, client, nil, p.logger()); err != nil {
		return err
	}
	if base != "" {
		restored := *cfg
		restored.Quipu.Nodes = []string{base}
		if o.Base, err = p.dial(ctx, &restored); err != nil {
			return err
		}
		defer o.Base.Close()
	}
	o.Kind = p.Kinds[src.Kind]
	if o.Job.Program == nil {
		if o.Job.Program, err = o.Kind.Compile(src); err != nil {
			return err
		}
	}
	if o.Others, err = others(cfg, src); err != nil {
		return err
	}
	report, err := recount.Run(ctx, o)
	switch {
	case err != nil && report.Repaired > 0:
		return fmt.Errorf("%w; %d keys were repaired before that; run it again, nothing is added twice", err, report.Repaired)
	case err != nil:
		return err
	}
	if err := report.Print(p.Out); err != nil {
		return err
	}
	return verdict(&o, report)
}

// others are the programs of all sources but one. Which columns a file has does not matter here: only what is written does.
func others(cfg *config.Config, but *config.Source) (list []*mapping.Program, err error) {
	for _, src := range cfg.Sources {
		if src == but {
			continue
		}
		program, err := mapping.Compile(src)
		if err != nil {
			return nil, err
		}
		list = append(list, program)
	}
	return list, nil
}

// verdict is nil where all keys are equal, or are by now.
func verdict(o *recount.Options, report *recount.Report) error {
	left := report.Differing - report.Repaired
	switch {
	case o.Repair && report.Doubtful() && !o.Force && left > 0:
		return fmt.Errorf("%d keys differ, and %d are repaired: the recount may not be exact, as said above; -force repairs all the same", report.Differing, report.Repaired)
	case left > 0 && o.Repair:
		return fmt.Errorf("%d keys differ, and %d are repaired; the others hold no number, or were changed meanwhile", report.Differing, report.Repaired)
	case left > 0:
		return fmt.Errorf("%d of %d keys differ", left, report.Compared)
	}
	return nil
}
