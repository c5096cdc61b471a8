// Package produce makes likes and brings each into the topic exactly once, also while the broker is killed; and it knows exactly
// what it has sent, so that others can be compared with it.
package produce

import (
	"math/rand/v2"
	"strconv"
)

// Who likes what.
const (
	Posts    = 1000
	Crowd    = 1_000_000        // users of the firehose: 0 to Crowd-1
	Users    = 1 << 20          // all; those above Crowd are visitors of the page
	Visitors = Users - Crowd    // how many of them
	skew     = 1.08             // exponent of the posts' Zipf distribution
	flat     = 3                // makes the first ranks less different
	wordsMax = len("u1048575_") // of an ID
)

// Shown are the posts of the page: their ranks lie so far apart that their counts have different numbers of digits.
var Shown = [...]int{1, 2, 3, 5, 9, 24, 90, 400}

// Post is the ID of the post of a rank, 1 to Posts; the first is liked most.
func Post(rank int) string { return "p" + strconv.Itoa(rank) }

// Rank is the rank of a post, 0 if there is none.
func Rank(id string) int {
	if len(id) < 2 || len(id) > wordsMax || id[0] != 'p' {
		return 0
	}
	n, err := strconv.Atoi(id[1:])
	if err != nil || n < 1 || n > Posts || Post(n) != id {
		return 0
	}
	return n
}

// Like is one event.
type Like struct {
	Rank int32 // of the post
	User int32
	At   int64        // Unix milliseconds
	Done chan<- int64 // is told, if it is not nil, how many likes the post has in the topic with this one; has room for it
}

// partition spreads the likes of a post over all partitions, by user.
func (l Like) partition(n int) int { return int(l.User) % n }

// append writes the event as the topic has it.
func (l Like) append(b []byte) []byte {
	b = append(b, `{"event":"like","post_id":"p`...)
	b = strconv.AppendInt(b, int64(l.Rank), 10)
	b = append(b, `","user_id":"u`...)
	b = strconv.AppendInt(b, int64(l.User), 10)
	b = append(b, `","ts":`...)
	b = strconv.AppendInt(b, l.At, 10)
	second := l.At / 1000 % 60
	return append(b, `,"second":"`+string([]byte{'0' + byte(second/10), '0' + byte(second%10)})+`"}`...)
}

// crowd draws random likes.
type crowd struct {
	random *rand.Rand
	ranks  *rand.Zipf
}

func newCrowd() *crowd {
	r := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	return &crowd{random: r, ranks: rand.NewZipf(r, skew, flat, Posts-1)}
}

func (c *crowd) like(at int64) Like {
	return Like{Rank: int32(c.ranks.Uint64()) + 1, User: int32(c.random.IntN(Crowd)), At: at}
}
