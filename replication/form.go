package replication

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"quipu/replication/peer"
	"quipu/replication/storage"
)

// How a cluster begins. The naive way has one node begin alone and add the others: for a while acknowledged writes would then
// be on one disk. So the nodes find each other first, and the first configuration has all of them as voters:
//
//  1. A node without data asks all addresses in its list who is there, again and again. Its node ID is on disk already.
//  2. If one of them has data, there is a cluster: this node begins with nothing, and asks to be added (membership.go).
//  3. If all of them have none, and have the same list, the node with the lowest ID founds the cluster: it writes a
//     configuration with all of them as voters into its log. The others see its data in the next round, and begin with
//     nothing as in 2. They get the configuration from the founder.
//
// Two nodes cannot both found a cluster that takes writes: each needs a majority of the list, and a node takes part in one
// incarnation only. A disk that is wiped later has a new ID, and finds a cluster.

const (
	formEvery = 200 * time.Millisecond
	formWait  = 2 * time.Second // for the answers of one round
	formLog   = 5 * time.Second
)

// FoundAlone is what a node begins with that has no peer port, and founds a cluster of its own.
func FoundAlone(id string) *Founding {
	return &Founding{Incarnation: storage.NewIncarnation(), Voters: []Member{{ID: id, Address: id}}}
}

// others are the addresses in the list but this node's own.
func (p *Peers) others() []string {
	list := slices.DeleteFunc(slices.Clone(p.opt.Join), func(a string) bool { return a == p.opt.Address })
	slices.Sort(list)
	return slices.Compact(list)
}

// foundersDigest tells whether two nodes have the same list; empty: this node founds no cluster with others.
func (p *Peers) foundersDigest() string {
	if p.opt.Voters < 2 {
		return ""
	}
	list := append(p.others(), p.opt.Address)
	slices.Sort(list)
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %q", p.opt.Voters, list))
	return hex.EncodeToString(sum[:8])
}

// Form finds out what a node without data begins with, for as long as ctx lasts. The result is nil if there are data. Others
// are not told of a new incarnation before it is on disk (openGroup): they would begin with nothing, and if this node crashed
// then, nobody would have a configuration.
func (p *Peers) Form(ctx context.Context) (*Founding, error) {
	if p.directory.Incarnation() != "" {
		return nil, nil
	}
	self := Member{ID: p.directory.NodeID(), Address: p.opt.Address}
	others := p.others()
	if len(others) == 0 {
		return &Founding{Incarnation: storage.NewIncarnation(), Voters: []Member{self}}, nil
	}
	logged := time.Time{}
	for {
		answers := p.askAll(ctx, others)
		if f, err := p.judge(self, answers); f != nil || err != nil {
			return f, err
		}
		if time.Since(logged) > formLog {
			logged = time.Now()
			var missing []string
			for _, a := range answers {
				if a.why != "" {
					missing = append(missing, a.address+": "+a.why)
				}
			}
			p.opt.Logger.Info("waiting for the other nodes", "node", self.ID, "missing", strings.Join(missing, "; "))
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(formEvery):
		}
	}
}

// answer is what one address has answered.
type answer struct {
	address string
	hello   peer.Hello
	why     string // why the node cannot found a cluster with this one now; empty: it can
}

// askAll asks who is at the addresses.
func (p *Peers) askAll(ctx context.Context, addresses []string) []answer {
	ctx, cancel := context.WithTimeout(ctx, formWait)
	defer cancel()
	answers := make([]answer, len(addresses))
	var busy sync.WaitGroup
	for i, address := range addresses {
		answers[i].address = address
		busy.Go(func() {
			a := &answers[i]
			c, hello, err := p.listener.Dial(ctx, address, peer.ForStatus, "")
			switch {
			case err != nil:
				a.why = err.Error()
				return
			case hello.Incarnation == "" && p.foundersDigest() == "":
				a.why = "it has no data, and bootstrap-expect says that there is a cluster already"
			case hello.Incarnation == "" && hello.Founders != p.foundersDigest():
				a.why = "it has another list of nodes in join, or another bootstrap-expect"
			}
			c.Close()
			a.hello = hello
		})
	}
	busy.Wait()
	return answers
}

// judge decides what this node begins with; nil, nil: that is not clear yet. An error is a mistake in the settings.
func (p *Peers) judge(self Member, answers []answer) (*Founding, error) {
	voters := []Member{self}
	incarnation := ""
	for _, a := range answers {
		switch h := &a.hello; {
		case h.Sender == self.ID:
			return nil, fmt.Errorf("%s in join is this node: write it as in peer-addr, %s", a.address, self.Address)
		case h.Incarnation != "" && incarnation != "" && h.Incarnation != incarnation:
			return nil, fmt.Errorf("%s belongs to another cluster than the other nodes in join", a.address)
		case h.Incarnation != "":
			incarnation = h.Incarnation
		case h.Sender != "" && h.PeerAddress != a.address:
			return nil, fmt.Errorf("%s in join calls itself %s: use the same address in join here and in peer-addr there", a.address, h.PeerAddress)
		case a.why == "":
			voters = append(voters, Member{ID: h.Sender, Address: a.address})
		}
	}
	if incarnation != "" {
		return &Founding{Incarnation: incarnation}, nil
	}
	lowest := slices.MinFunc(voters, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	if len(voters) < p.opt.Voters || len(voters) != len(answers)+1 || lowest != self {
		return nil, nil
	}
	return &Founding{Incarnation: storage.NewIncarnation(), Voters: voters}, nil
}
