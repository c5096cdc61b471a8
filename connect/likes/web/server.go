// Package web is the page of the likes demo and what it talks to.
package web

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"time"
)

// Demo is what the page can do.
type Demo interface {
	// Like sends a like of a visitor, and says how many the post has in the topic with it.
	Like(ctx context.Context, post string, visitor int) (int64, error)
	Firehose(on bool, rate int)
	// Kill ends the process that leads ("leader"), a connector or the broker.
	Kill(what string) error
}

// ErrWrong is a request that makes no sense.
var ErrWrong = errors.New("there is no such thing")

//go:embed page
var page embed.FS

// policy: the page is made of its own files and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const (
	bodyMax   = 1024 // bytes
	readLimit = 10 * time.Second
)

// New is the server of the page at addr ("127.0.0.1:8090"), which says its Handler; the caller listens.
func New(addr string, hub *Hub, demo Demo) (*http.Server, error) {
	files, err := fs.Sub(page, "page")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	mux.Handle("GET /events", hub)
	mux.HandleFunc("POST /like", func(w http.ResponseWriter, r *http.Request) {
		var like struct {
			Post    string `json:"post"`
			Visitor int    `json:"visitor"`
		}
		answer(w, r, &like, func() (any, error) { return demo.Like(r.Context(), like.Post, like.Visitor) })
	})
	mux.HandleFunc("POST /firehose", func(w http.ResponseWriter, r *http.Request) {
		var set struct {
			On   bool `json:"on"`
			Rate int  `json:"rate"`
		}
		answer(w, r, &set, func() (any, error) {
			demo.Firehose(set.On, set.Rate)
			return true, nil
		})
	})
	mux.HandleFunc("POST /kill", func(w http.ResponseWriter, r *http.Request) {
		var kill struct {
			What string `json:"what"`
		}
		answer(w, r, &kill, func() (any, error) { return true, demo.Kill(kill.What) })
	})
	return &http.Server{
		Addr: addr, Handler: guard(addr, http.NewCrossOriginProtection().Handler(mux)), ReadHeaderTimeout: readLimit, MaxHeaderBytes: 16 << 10,
	}, nil
}

// answer reads a request as JSON and writes what do returns.
func answer(w http.ResponseWriter, r *http.Request, request any, do func() (any, error)) {
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyMax))
	in.DisallowUnknownFields()
	if err := in.Decode(request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	reply, err := do()
	switch {
	case errors.Is(err, ErrWrong):
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(reply) // the browser may have gone
}

// guard lets only pages of this server in: it can kill processes, so a name that somebody has pointed at this machine
// (DNS rebinding) must not reach it.
func guard(addr string, next http.Handler) http.Handler {
	_, port, _ := net.SplitHostPort(addr)
	hosts := map[string]bool{addr: true}
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		hosts[net.JoinHostPort(name, port)] = true
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hosts[r.Host] {
			http.Error(w, "this server is for "+addr, http.StatusForbidden)
			return
		}
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cache-Control", "no-cache")
		next.ServeHTTP(w, r)
	})
}
