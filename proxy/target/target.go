// Package target says what is scraped, how, and what came of it. It imports nothing of
// this project.
package target

import (
	"io"
	"net/http"
	"time"
)

// Target is one endpoint to scrape. Immutable.
type Target struct {
	ID          string  // unique among all targets, and stable: what is learned of a target is kept under it
	Namespace   string  // of the pod
	Pod         string  // its name
	Address     string  // of the pod: an IP
	Owner       string  // who holds Address, such as a pod UID; empty if Address cannot pass to another target
	URL         string  // what is asked; empty if Problem is set
	Labels      []Label // put on each sample, in this order; distinct from every other target's
	Terminating bool    // the pod is being deleted: that it does not answer is no news
	Shard       int     // which of the proxies that share the pods asks it
	Problem     *Problem
	Profile     *Profile // nil = the usual one
}

// Profile is how a target is scraped, as far as that differs from the usual: a zero field
// means the usual. Targets share profiles. Immutable.
type Profile struct {
	Transport     http.RoundTripper // may not follow redirects
	Timeout       time.Duration     // from the request to the complete response; the deadline of the scrape holds, too
	BodySizeLimit int64             // bytes, on the wire, decoded and translated
	SampleLimit   int

	// Translate makes an exposition in the text format 0.0.4 of a decoded body. Either
	// side is a stream: neither is bounded but by BodySizeLimit. An error, of Translate or
	// of what it returns, is a Parse failure, unless the body could not be read.
	Translate func(contentType string, body io.Reader) (io.Reader, error)
}

// Label is one label of a target. Name matches [a-zA-Z_][a-zA-Z0-9_]*; an empty
// Value equals an absent label.
type Label struct{ Name, Value string }

// Problem is why a target cannot be asked at all. Such a target is down.
type Problem struct {
	Reason Reason
	Err    error
}

// Outcome is what came of asking a target once.
type Outcome struct {
	Reason   Reason        // OK, or why the target is down
	Err      error         // nil if the target is up
	Duration time.Duration // from the request to the checked body
	Bytes    int64         // of the body, decoded, as far as it was read
	Samples  int           // that the target adds to the answer
}

// Reason is one word for what came of a request.
type Reason string

// The reasons are a closed list: own metrics have one series for each.
const (
	OK             Reason = "ok"
	Timeout        Reason = "timeout"          // no whole answer by the deadline, or never asked until then
	Connect        Reason = "connect"          // no connection, or not within CONNECT_TIMEOUT
	TLS            Reason = "tls"              // the handshake failed
	Incomplete     Reason = "incomplete"       // no whole HTTP answer: the connection ended early, or it is not HTTP
	Status         Reason = "status"           // a status other than 200; redirects are not followed
	ContentType    Reason = "content_type"     // a media type that Prometheus would not parse
	Encoding       Reason = "encoding"         // an unknown Content-Encoding, or a corrupt one
	TooLarge       Reason = "too_large"        // over BODY_SIZE_LIMIT
	TooManySamples Reason = "too_many_samples" // over SAMPLE_LIMIT
	Parse          Reason = "parse"            // not a valid exposition
	Memory         Reason = "memory"           // shed to stay within MEMORY_LIMIT
	Annotation     Reason = "annotation"       // an annotation of the pod is malformed
	Identity       Reason = "identity"         // another target has the same labels
)

// Reasons returns all reasons.
func Reasons() []Reason {
	return []Reason{
		OK, Timeout, Connect, TLS, Incomplete, Status, ContentType, Encoding, TooLarge, TooManySamples, Parse, Memory, Annotation, Identity,
	}
}
