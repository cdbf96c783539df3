package server

import (
	"errors"
	"net/http"
	"sync"
	"time"
)

// slowWrite is the time that a client must have made the proxy wait in one response before
// that response may be cut.
const slowWrite = time.Second

// errSlowClient is the error of a response that was cut.
var errSlowClient = errors.New("the response was cut because its client reads slowly and others need the memory")

// writers bounds the responses being written, which keep the bodies of their targets in
// memory: their number, and the memory of them all. Beyond that, it cuts the responses whose
// clients have made the proxy wait for longest. Safe for concurrent use.
type writers struct {
	most   int
	memory int64 // bytes; 0 = unbounded

	mu   sync.Mutex // guards the fields below, and those of each response that are not constant
	all  map[*response]struct{}
	held int64 // bytes
}

// response is the response to one scrape while it is written.
type response struct {
	http.ResponseWriter
	writers *writers
	held    int64 // bytes of memory

	waited time.Duration // for the client, without the Write in progress
	since  time.Time     // start of the Write in progress; zero = none
	isCut  bool
}

// begin starts to write a response that keeps this many bytes in memory. The caller must call
// end before its handler returns.
func (ws *writers) begin(w http.ResponseWriter, held int64) *response {
	r := &response{ResponseWriter: w, writers: ws, held: held}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.all[r] = struct{}{}
	ws.held += held
	ws.makeRoom()
	return r
}

// cutSlow cuts responses if there are too many. A scrape calls it before it takes memory.
func (ws *writers) cutSlow() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.makeRoom()
}

// makeRoom cuts responses until the bounds hold, or none of the rest is slow. The caller holds
// mu.
func (ws *writers) makeRoom() {
	for len(ws.all) > ws.most || ws.memory > 0 && ws.held > ws.memory {
		var slowest *response
		longest := slowWrite
		for r := range ws.all {
			if waited := r.waitedUntilNow(); waited >= longest {
				slowest, longest = r, waited
			}
		}
		if slowest == nil {
			return
		}
		ws.remove(slowest)
		slowest.isCut = true
		_ = http.NewResponseController(slowest.ResponseWriter).SetWriteDeadline(time.Unix(1, 0)) // ends its Write
	}
}

func (ws *writers) remove(r *response) {
	if _, ok := ws.all[r]; ok {
		delete(ws.all, r)
		ws.held -= r.held
	}
}

// waitedUntilNow returns how long the proxy has waited for the client. The caller holds mu.
func (r *response) waitedUntilNow() time.Duration {
	if r.since.IsZero() {
		return r.waited
	}
	return r.waited + time.Since(r.since)
}

func (r *response) Write(p []byte) (int, error) {
	r.writers.mu.Lock()
	if r.isCut {
		r.writers.mu.Unlock()
		return 0, errSlowClient
	}
	r.since = time.Now()
	r.writers.mu.Unlock()
	n, err := r.ResponseWriter.Write(p)
	r.writers.mu.Lock()
	defer r.writers.mu.Unlock()
	r.waited += time.Since(r.since)
	r.since = time.Time{}
	if err != nil && r.isCut {
		err = errSlowClient
	}
	return n, err
}

// end returns how long the proxy has waited for the client. The response is not cut afterwards.
func (r *response) end() time.Duration {
	r.writers.mu.Lock()
	defer r.writers.mu.Unlock()
	r.writers.remove(r)
	return r.waited
}
