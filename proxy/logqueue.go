package main

import (
	"io"
	"sync"
	"time"
)

// maxPendingLog is how many bytes of log lines a logQueue keeps.
const maxPendingLog = 256 << 10

// logQueue passes lines on to another writer, in order, without ever waiting for it. If that
// writer is slow, the queue keeps maxPendingLog bytes and drops the lines that do not fit.
// Errors of that writer are ignored. Safe for concurrent use.
type logQueue struct {
	out  io.Writer // only the goroutine of run writes to it
	wake chan struct{}

	mu      sync.Mutex // guards the fields below
	pending []byte
	dropped int             // lines since the last report
	report  func(lines int) // writes to out how many lines were dropped; may be nil
	flushes []chan struct{} // closed once nothing is pending
}

// newLogQueue starts a queue. It runs until the process ends.
func newLogQueue(out io.Writer) *logQueue {
	q := &logQueue{out: out, wake: make(chan struct{}, 1)}
	go q.run()
	return q
}

// Write takes one or more whole lines. It keeps all of p or nothing, and never fails.
func (q *logQueue) Write(p []byte) (int, error) {
	q.mu.Lock()
	if len(q.pending)+len(p) > maxPendingLog {
		q.dropped++
	} else {
		q.pending = append(q.pending, p...)
	}
	q.mu.Unlock()
	q.awake()
	return len(p), nil
}

// Flush waits until everything is written, but at most for timeout.
func (q *logQueue) Flush(timeout time.Duration) {
	flushed := make(chan struct{})
	q.mu.Lock()
	q.flushes = append(q.flushes, flushed)
	q.mu.Unlock()
	q.awake()
	select {
	case <-flushed:
	case <-time.After(timeout):
	}
}

// onDrop sets the function that reports dropped lines. It is called between lines.
func (q *logQueue) onDrop(report func(lines int)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.report = report
}

func (q *logQueue) awake() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *logQueue) run() {
	var spare []byte // what was written last, to be filled next
	for range q.wake {
		for {
			lines, dropped, report := q.take(spare[:0])
			if len(lines) == 0 && dropped == 0 {
				break
			}
			_, _ = q.out.Write(lines)
			if dropped > 0 && report != nil {
				report(dropped)
			}
			spare = lines
		}
	}
}

// take takes what is pending and replaces it with spare. If nothing is pending, it changes
// nothing, and ends the flushes.
func (q *logQueue) take(spare []byte) (lines []byte, dropped int, report func(int)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.pending) == 0 && q.dropped == 0 {
		for _, flushed := range q.flushes {
			close(flushed)
		}
		q.flushes = nil
		return nil, 0, nil
	}
	lines, dropped = q.pending, q.dropped
	q.pending, q.dropped = spare, 0
	return lines, dropped, q.report
}
