package server

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// maxNested is the maximum number of nested scrapes in progress.
const maxNested = 2

// parting is the time in which a target that the proxy stopped waiting for notices that, and
// ends the request to this proxy that it may have made meanwhile.
const parting = 500 * time.Millisecond

// admit waits until the scrape of a client may start, or ctx ends. It returns a function that
// gives the place up, which may be called several times, or a refusal.
//
// A scrape from the address of a target leaves half of the places to others. It is nested if a
// scrape is scraping that target right now: the target may have forwarded the request to this
// proxy. Then it waits for other nested scrapes: see nesting.
func (s *Server) admit(ctx context.Context, from netip.Addr, targets []*target.Target) (leave func(), refused *refusal) {
	if !s.waiting.join(from) {
		return nil, &refusal{http.StatusServiceUnavailable, "refused", "too many scrapes from the address of this client are waiting"}
	}
	defer s.waiting.leave(from)
	leaveNesting, ok := s.nesting.enter(ctx, from)
	if !ok {
		return nil, &refusal{http.StatusServiceUnavailable, "loop", "this client is a target that is being scraped, and scrapes nested in other scrapes are in progress: a target may forward its requests to this proxy"}
	}
	places := []chan struct{}{s.slots}
	if slices.ContainsFunc(targets, func(t *target.Target) bool { return from.IsValid() && addrOf(t.Address) == from }) {
		places = []chan struct{}{s.slotsOfTargets, s.slots}
	}
	leave = leaveNesting
	for _, slots := range places {
		if !acquire(ctx, slots) {
			leave()
			return nil, &refusal{http.StatusServiceUnavailable, "refused", "too many concurrent scrapes: SERVER_WORKERS limits them"}
		}
		before := leave
		leave = func() { <-slots; before() }
	}
	return sync.OnceFunc(leave), nil
}

// waiting counts the scrapes that wait for admission by client address, so that one client
// cannot use all connections. Safe for concurrent use.
type waiting struct {
	most int // per address

	mu      sync.Mutex // guards scrapes
	scrapes map[netip.Addr]int
}

// join reports whether one more scrape may wait. If so, the caller must call leave.
func (w *waiting) join(from netip.Addr) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.scrapes[from] >= w.most {
		return false
	}
	w.scrapes[from]++
	return true
}

func (w *waiting) leave(from netip.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.scrapes[from]--; w.scrapes[from] == 0 {
		delete(w.scrapes, from)
	}
}

// acquire waits for a slot until ctx ends, and reports whether it acquired one.
func acquire(ctx context.Context, slots chan struct{}) bool {
	select {
	case slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// nesting knows which targets are being scraped right now, and which scrapes are nested in
// others. There is at most one nested scrape per address, and maxNested in all. A scrape is
// not nested twice: none starts from the address of a target while a nested scrape scrapes
// that target. What has to wait does so until the target has responded, which it does soon
// unless it is waiting for that scrape. If the proxy stops waiting for the response, none
// starts from that target before its requests have ended. Safe for concurrent use.
type nesting struct {
	mu      sync.Mutex // guards the fields below
	visits  map[netip.Addr]visits
	sources map[netip.Addr]bool // of the nested scrapes in progress
	changed chan struct{}       // closed when one of the above shrinks; nil if nobody waits
}

// visits is the number of requests to targets with an address, and of those that let no scrape
// start from there.
type visits struct{ all, exclusive int }

func newNesting() *nesting {
	return &nesting{visits: map[netip.Addr]visits{}, sources: map[netip.Addr]bool{}}
}

// enter waits until a scrape from the address may start, or ctx ends, and reports whether it
// may. leave ends it.
func (n *nesting) enter(ctx context.Context, from netip.Addr) (leave func(), ok bool) {
	for {
		n.mu.Lock()
		open := n.visits[from]
		switch {
		case open.all == 0:
			n.mu.Unlock()
			return func() {}, true
		case open.exclusive == 0 && !n.sources[from] && len(n.sources) < maxNested:
			n.sources[from] = true
			n.mu.Unlock()
			return func() { n.update(func() { delete(n.sources, from) }) }, true
		}
		if n.changed == nil {
			n.changed = make(chan struct{})
		}
		changed := n.changed
		n.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, false
		}
	}
}

// visit records that a scrape from an address requests a target, until leave is called. The
// target may respond until ctx ends. If it has not, the visit lasts a moment longer.
func (n *nesting) visit(ctx context.Context, from netip.Addr, t *target.Target) (leave func()) {
	to := addrOf(t.Address)
	if !to.IsValid() {
		return func() {}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	exclusive := 0
	if n.sources[from] {
		exclusive = 1
	}
	n.count(to, 1, exclusive)
	return func() {
		if ctx.Err() == nil {
			n.update(func() { n.count(to, -1, -exclusive) })
			return
		}
		n.update(func() { n.count(to, 0, 1-exclusive) })
		time.AfterFunc(parting, func() { n.update(func() { n.count(to, -1, -1) }) })
	}
}

// count adds to the visits of targets with an address. The caller holds mu.
func (n *nesting) count(to netip.Addr, all, exclusive int) {
	open := n.visits[to]
	n.visits[to] = visits{open.all + all, open.exclusive + exclusive}
	if n.visits[to].all == 0 {
		delete(n.visits, to)
	}
}

// update makes a change and wakes those that wait for one.
func (n *nesting) update(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
	if n.changed != nil {
		close(n.changed)
		n.changed = nil
	}
}

// clientAddr returns the address of the client, which may be that of a proxy or of source NAT.
// It is invalid if it is not known.
func clientAddr(r *http.Request) netip.Addr {
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	return from.Addr().Unmap().WithZone("")
}

// addrOf parses the address of a target. The result is invalid if it has none.
func addrOf(address string) netip.Addr {
	addr, _ := netip.ParseAddr(address)
	return addr.Unmap().WithZone("")
}
