package produce

import (
	"math/bits"
	"sync"
)

// Ledger is what the topic holds, as its only producer knows: exact, however the broker was killed. Its size does not depend on
// how many likes there are.
type Ledger struct {
	mu    sync.Mutex
	sent  int64
	posts [Posts + 1]int64 // by rank
	fans  map[int32]*fans  // of the posts in Shown
}

// fans is the exact set of the users who like a post.
type fans struct {
	users [Users / 64]uint64
	n     int64
}

func newLedger() *Ledger {
	l := &Ledger{fans: map[int32]*fans{}}
	for _, rank := range Shown {
		l.fans[int32(rank)] = &fans{}
	}
	return l
}

// add enters likes that are in the topic.
func (l *Ledger) add(likes []Like) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent += int64(len(likes))
	for _, like := range likes {
		l.posts[like.Rank]++
		if f := l.fans[like.Rank]; f != nil {
			f.add(like.User)
		}
		if like.Done != nil {
			like.Done <- l.posts[like.Rank]
		}
	}
}

func (f *fans) add(user int32) {
	word, bit := user/64, uint64(1)<<(user%64)
	f.n += int64(bits.OnesCount64(bit &^ f.users[word]))
	f.users[word] |= bit
}

// Sent is how many likes are in the topic.
func (l *Ledger) Sent() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent
}

// Posts is how many likes of each post are in the topic, by rank, and of all.
func (l *Ledger) Posts() (likes [Posts + 1]int64, sent int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.posts, l.sent
}

// Post is how many likes of one post are in the topic.
func (l *Ledger) Post(rank int) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.posts[rank]
}

// Fans is how many different users like a post of Shown.
func (l *Ledger) Fans(rank int) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fans[int32(rank)].n
}
