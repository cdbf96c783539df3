package scrape

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

type tooLargeError int64

func (e tooLargeError) Error() string {
	return fmt.Sprintf("body exceeds BODY_SIZE_LIMIT=%d bytes", int64(e))
}

type statusError string

func (e statusError) Error() string {
	return fmt.Sprintf("the target returned status %.80q, expected 200", string(e))
}

type encodingError struct{ error }

func (e encodingError) Unwrap() error { return e.error }

// translateError is the error of a body that Profile.Translate cannot translate.
type translateError struct{ error }

func (e translateError) Unwrap() error { return e.error }

// deadlineError is any error that occurs after the deadline of the scrape or of the target.
type deadlineError struct{ error }

func (e deadlineError) Unwrap() error { return e.error }

type handshakeError struct{ error }

func (e *handshakeError) Unwrap() error { return e.error }

// notScrapedError is the error of a target that got no slot before the deadline. Its value is
// the number of slots, MAX_IN_FLIGHT.
type notScrapedError int

func (e notScrapedError) Error() string {
	return fmt.Sprintf("the target was not scraped: MAX_IN_FLIGHT=%d other scrapes were in progress until then", int(e))
}

// Errors of targets whose responses still cost time after the deadline.
var (
	errUnread  = errors.New("the response was still being read at the deadline")
	errLingers = errors.New("the target was not scraped: a response of it is still being read after the deadline of an earlier scrape")
)

// WasScraped reports whether a request to the target was started.
func (r Result) WasScraped() bool {
	var notScraped notScrapedError
	return r.Target.Problem == nil && !errors.As(r.Outcome.Err, &notScraped) && !errors.Is(r.Outcome.Err, errLingers)
}

// explainDeadline returns err, unless it only reports that ctx has ended. In that case, it
// returns an error that names what had not happened by then.
func explainDeadline(ctx context.Context, err error, what string) error {
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return errors.New("the deadline passed before " + what)
	}
	return err
}

// truncatedError truncates an error message to 500 bytes, so that a target cannot fill the
// log: net/http quotes lines of any length.
type truncatedError struct{ error }

func (e truncatedError) Error() string { return fmt.Sprintf("%.500s", e.error.Error()) }

func (e truncatedError) Unwrap() error { return e.error }

// reasonOf returns the reason for an error of fetch. After the deadline, every error is a
// timeout, unless the response itself was invalid.
func reasonOf(err error) target.Reason {
	var (
		notScraped  notScrapedError
		deadline    deadlineError
		translate   translateError
		status      statusError
		contentType exposition.ContentTypeError
		tooLarge    tooLargeError
		encoding    encodingError
		syntax      *exposition.SyntaxError
		handshake   *handshakeError
		network     *net.OpError
	)
	switch {
	case err == nil:
		return target.OK
	case errors.As(err, &status):
		return target.Status
	case errors.As(err, &contentType):
		return target.ContentType
	case errors.Is(err, errMemory):
		return target.Memory
	case errors.As(err, &encoding):
		return target.Encoding
	case errors.As(err, &tooLarge), errors.Is(err, exposition.ErrTooLarge):
		return target.TooLarge
	case errors.Is(err, exposition.ErrTooManySamples):
		return target.TooManySamples
	case errors.As(err, &syntax):
		return target.Parse
	case errors.As(err, &notScraped), errors.As(err, &deadline), errors.Is(err, errLingers):
		return target.Timeout
	case errors.As(err, &translate):
		return target.Parse
	case errors.As(err, &handshake):
		return target.TLS
	case errors.As(err, &network) && network.Op == "dial":
		return target.Connect
	default:
		return target.Incomplete
	}
}
