package app

import (
	"context"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"quipu/connect/count"
)

// progress shows on a terminal how far catching up has come. It is shown while the lag is large.
func (r *running) progress(ctx context.Context, board *count.Board) {
	out, isFile := r.Err.(*os.File)
	if !isFile || !term.IsTerminal(int(out.Fd())) {
		return
	}
	tick := time.NewTicker(progressTime)
	defer tick.Stop()
	var bar *progressbar.ProgressBar
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		done, all := int64(0), int64(0)
		for _, s := range board.Snapshots() {
			if s.Partition() && s.End > 0 {
				done += s.Done - s.Begun
				all += max(s.End, s.Done) - s.Begun
			}
		}
		switch {
		case bar == nil && all-done < progressLag:
		case bar == nil:
			bar = progressbar.NewOptions64(all, progressbar.OptionSetWriter(out), progressbar.OptionSetDescription("catching up"),
				progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionThrottle(progressTime))
			fallthrough
		default:
			bar.ChangeMax64(all)
			_ = bar.Set64(done)
			if done == all {
				_ = bar.Finish()
				bar = nil
			}
		}
	}
}

const (
	progressTime = 250 * time.Millisecond
	progressLag  = 50_000 // offsets, of files bytes
)
