package console

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// A login is a connection to the node on which AUTH has succeeded, and a cookie that leads to it. The password is not kept. The login
// ends with the connection: when the user is deleted, by CLIENT KILL, or after a time. Wrong passwords are counted by the node, as on its
// other ports: by address, with a limit a second, a line in its log and in ACL LOG.

const (
	cookieName = "quipu-console-" // and the port: a browser sends cookies of one port to all others of the machine
	mostLogins = 32               // beyond it the one ends that was not used for the longest time
	mostTrying = 8                // passwords that are being checked at a time
	loginBytes = 4096

	loginIdle   = 30 * time.Minute // without a request
	loginMost   = 12 * time.Hour   // of all
	anybodyIdle = 30 * time.Second // until the connection of those who need no login is closed
)

var errNoLogin = errors.New("nobody is logged in")

// login is somebody who looks at the node.
type login struct {
	client  *client
	user    string
	anybody bool // who needed not log in
	view    *view
	hash    [32]byte // of the token in the cookie
	since   time.Time

	// Guarded by Console.mu:
	used  time.Time
	timer *time.Timer // ends the login when it was not used
	gone  bool
}

// loginOf is the login that the request's cookie names. Without a cookie it is that of anybody, if nobody has to log in.
func (c *Console) loginOf(r *http.Request) (*login, error) {
	if cookie, err := r.Cookie(nameOf(r)); err == nil {
		l := c.find(cookie.Value)
		switch {
		case l == nil:
		case l.client.alive():
			return l, nil
		default:
			c.end(l)
		}
	}
	if !c.node.Open() {
		c.mu.Lock()
		l := c.anybody
		c.mu.Unlock()
		c.end(l)
		return nil, errNoLogin
	}
	return c.needless(r)
}

// find is the login of a token, or nil.
func (c *Console) find(token string) *login {
	hash := sha256.Sum256([]byte(token))
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.logins[hash]
	if l == nil || subtle.ConstantTimeCompare(l.hash[:], hash[:]) != 1 {
		return nil
	}
	c.touch(l)
	return l
}

// touch notes that a login is used. mu is held.
func (c *Console) touch(l *login) {
	l.used = time.Now()
	idle := loginIdle
	if l.anybody {
		idle = anybodyIdle
	} else {
		idle = max(0, min(idle, loginMost-time.Since(l.since)))
	}
	l.timer.Reset(idle)
}

// needless is the login of those who need none. One is there for all of them.
func (c *Console) needless(r *http.Request) (*login, error) {
	c.mu.Lock()
	if l := c.anybody; l != nil && l.client.alive() {
		c.touch(l)
		c.mu.Unlock()
		return l, nil
	}
	c.mu.Unlock()
	if !c.try(1) {
		return nil, errors.New("many come at once")
	}
	defer c.try(-1)
	client, text, err := c.connect(r, "HELLO", "2", "SETNAME", "console")
	if err != nil {
		return nil, err
	}
	if text != "" { // a password was set meanwhile
		return nil, errNoLogin
	}
	c.mu.Lock()
	if l := c.anybody; l != nil && !l.client.ended() { // somebody else was faster
		c.mu.Unlock()
		client.close()
		return l, nil
	}
	old := c.anybody
	l := &login{client: client, user: "default", anybody: true, since: time.Now()}
	added := c.add(l)
	if added {
		c.anybody = l
	}
	c.mu.Unlock()
	c.end(old)
	if !added {
		client.close()
		return nil, errClosed
	}
	return l, nil
}

// localOf is the address that the browser has asked, or nil.
func localOf(r *http.Request) net.Addr {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return local
}

// nameOf is the name of the cookie.
func nameOf(r *http.Request) string {
	if tcp, ok := localOf(r).(*net.TCPAddr); ok {
		return cookieName + strconv.Itoa(tcp.Port)
	}
	return cookieName
}

// connect makes a client, whose first command is hello. text is the node's refusal.
func (c *Console) connect(r *http.Request, hello ...string) (cl *client, text string, err error) {
	local := localOf(r)
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || local == nil {
		return nil, "", errors.New("the address of the browser is not known")
	}
	conn, err := c.node.Dial(net.TCPAddrFromAddrPort(from), local)
	if err != nil {
		return nil, "", err
	}
	cl = newClient(conn)
	ctx, cancel := context.WithTimeout(r.Context(), commandLimit)
	defer cancel()
	replies, err := cl.do(ctx, hello)
	if err != nil {
		return nil, "", err
	}
	if text = replies[0].Err; text != "" {
		cl.close()
		return nil, text, nil
	}
	// The console shows this node, also where another one leads, or none; and a key is not hot because it was looked at. Who may not ask
	// for that has keys read as others do.
	if _, err = cl.do(ctx, []string{"CLIENT", "READ", "local"}, []string{"CLIENT", "NO-TOUCH", "ON"}); err != nil {
		return nil, "", err
	}
	return cl, "", nil
}

// add has a login use the view of its user, and reports whether it may. mu is held.
func (c *Console) add(l *login) bool {
	if c.closed {
		return false
	}
	if l.view = c.views[l.user]; l.view == nil {
		l.view = newView()
		c.views[l.user] = l.view
	}
	l.view.logins++
	l.timer = time.AfterFunc(time.Hour, func() { c.end(l) })
	c.touch(l)
	return true
}

// end ends a login, or nothing if it is nil or has ended.
func (c *Console) end(l *login) {
	if l == nil {
		return
	}
	l.client.close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.gone {
		return
	}
	l.gone = true
	l.timer.Stop()
	if c.anybody == l {
		c.anybody = nil
	}
	if c.logins[l.hash] == l {
		delete(c.logins, l.hash)
	}
	if l.view.logins--; l.view.logins == 0 {
		delete(c.views, l.user)
	}
}

// oldest is the login that was not used for the longest time. mu is held.
func (c *Console) oldest() (old *login) {
	for _, l := range c.logins {
		if old == nil || l.used.Before(old.used) {
			old = l
		}
	}
	return old
}

// try lets at most mostTrying passwords be checked at a time.
func (c *Console) try(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > 0 && c.trying+n > mostTrying {
		return false
	}
	c.trying += n
	return true
}

func (c *Console) serveLogin(w http.ResponseWriter, r *http.Request) {
	var who struct {
		User     string `json:"user"`
		Password string `json:"password"`
	}
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, loginBytes))
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") || in.Decode(&who) != nil {
		http.Error(w, "A login is JSON with user and password.", http.StatusBadRequest)
		return
	}
	if who.User == "" {
		who.User = "default"
	}
	if !c.try(1) {
		tooMany(w)
		return
	}
	defer c.try(-1)
	client, text, err := c.connect(r, "HELLO", "2", "AUTH", who.User, who.Password, "SETNAME", "console")
	switch {
	case err != nil:
		http.Error(w, "The node does not answer: "+err.Error(), http.StatusServiceUnavailable)
	case strings.HasPrefix(text, "WRONGPASS too many"):
		w.Header().Set("Retry-After", "1")
		http.Error(w, "Too many wrong passwords from this address. Wait a second.", http.StatusTooManyRequests)
	case text != "":
		http.Error(w, text, http.StatusUnauthorized)
	default:
		c.welcome(w, r, &login{client: client, user: who.User, since: time.Now()})
	}
}

// welcome gives the browser of a login its cookie.
func (c *Console) welcome(w http.ResponseWriter, r *http.Request, l *login) {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	token := hex.EncodeToString(secret)
	l.hash = sha256.Sum256([]byte(token))
	c.mu.Lock()
	var old *login
	if len(c.logins) >= mostLogins {
		old = c.oldest()
	}
	added := c.add(l)
	if added {
		c.logins[l.hash] = l
	}
	c.mu.Unlock()
	c.end(old)
	if !added {
		l.client.close()
		http.Error(w, "The node stops.", http.StatusServiceUnavailable)
		return
	}
	http.SetCookie(w, c.cookie(r, token, int(loginMost/time.Second)))
	w.WriteHeader(http.StatusNoContent)
}

func (c *Console) cookie(r *http.Request, token string, seconds int) *http.Cookie {
	return &http.Cookie{
		Name: nameOf(r), Value: token, Path: Path, MaxAge: seconds, HttpOnly: true, Secure: c.node.Secret(), SameSite: http.SameSiteStrictMode,
	}
}

func (c *Console) serveLogout(w http.ResponseWriter, r *http.Request) {
	if cookie, err := r.Cookie(nameOf(r)); err == nil {
		c.end(c.find(cookie.Value))
	}
	http.SetCookie(w, c.cookie(r, "", -1))
	w.WriteHeader(http.StatusNoContent)
}
