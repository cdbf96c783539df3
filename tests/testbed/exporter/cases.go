package exporter

import "net/http"

// A Case is one way of being broken, with a name for tests and pods.
type Case struct {
	Name    string
	Handler http.Handler
}

// Broken returns every way in which an answer must not be used. One more is a pod
// whose address has no listener. Redirect points at /healthy of the same server.
func Broken() []Case {
	return []Case{
		{"hang", Hang()},
		{"stall", Stall()},
		{"reset", Reset()},
		{"reset-in-body", ResetInBody()},
		{"status-500", Status(http.StatusInternalServerError)},
		{"redirect", Redirect("/healthy")},
		{"html", HTML()},
		{"truncated", Truncated()},
		{"truncated-chunked", TruncatedChunked()},
		{"drip", Drip()},
		{"zip-bomb", ZipBomb()},
		{"endless", Endless()},
		{"garbage", Garbage()},
		{"blank-content-type", BlankContentType()},
	}
}
