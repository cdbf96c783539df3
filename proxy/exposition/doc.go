// Package exposition merges the answers of many targets into one valid
// Prometheus exposition.
//
// [Negotiate] chooses the format of an answer: text, OpenMetrics or protobuf.
// [Reader.Read] takes one target's answer, in any of them, and checks every byte of it
// by the rules of Prometheus's own parser (model/textparse). A body that breaks a rule is
// refused as a whole, as Prometheus would refuse it. [Merge] decides, family by family,
// how the bodies stand together, and [Merged.WriteTo] writes them: one HELP and one TYPE
// a family, each body's lines of a family in one block and in their original order, with
// the labels of the body's target put on every line as it is copied.
//
// There are two engines that read, and they give the same answers.
//
// # The reference engine
//
// [Read] takes a body whole and indexes it by family (Body.samples). Bytes go in and
// bytes come out: no object is made per sample. A line that is already in the canonical
// form
//
//	name{label="value",label="value"} value timestamp
//
// is kept as an offset into the body and copied once. Every other spelling that
// the format allows (blanks, quoted names, trailing commas, a raw line feed in a
// label value), every line whose labels collide with the target's, and every line of
// a body in another format than the answer's, is rewritten into that form while it is
// read, so that merging knows one form only. In an answer in protobuf a Metric message
// takes the place of a line, and the target's labels are written behind it.
//
// # Shapes
//
// Bodies of one workload differ in little but their values. [Reader] learns the shape of
// each family from the first body that has it, with the reference engine, and streams
// the bodies that follow through the shapes. What it keeps of a body is what the shapes
// do not tell:
//
//	the body as it comes                      its shapes, for all bodies      the packed body
//	-------------------------------------     -------------------------------     -----------
//	# HELP http_requests_total Requests.  ┐
//	# TYPE http_requests_total counter    ┴   head of shape 7                     visit 7:
//	http_requests_total{code="200"} 27        line 0: …{code="200"} _             run of 2: 27 3
//	http_requests_total{code="404"} 3         line 1: …{code="404"} _
//	http_requests_total{code="503"} 1         line 2: …{code="500"} _             line 2, but 503: 1
//	# TYPE process_open_fds gauge         -   head of shape 8                     visit 8:
//	process_open_fds 11                       line 0: process_open_fds _          run of 1: 11
//
// Where the next line is the one that the shape expects, reading is one comparison of
// memory and a look at a number (packer.run). Else the line is searched a little ahead,
// then as a variant with other label values, then by its series, and is kept whole if
// the shape does not know it. A learner adds to a shape what several targets have and it
// lacks. Writing goes through the visits of a family and puts line, labels and tail
// together (writer.visits).
//
// A target deviates from the shapes today as it did in the last scrape: its series are
// the same. So the packed body is kept until the target's next one has been read along
// it (packer.follow): line by line it says which line of the shape comes, or what stands
// in place of which label values. As long as that is so, nothing is searched, and nothing
// has to be checked for coming twice. Where another line comes, the shape takes over.
//
// Whatever cannot be understood family by family (a family in two places, one name in
// two families, a TYPE that is missing, a syntax error) makes a body odd. A packed body
// loses nothing, so it is written again as it came, and the reference engine takes it
// from there. Nothing is decided twice: shapes know the plain case only. A fuzz target
// and every test of reading hold both engines against each other.
//
// The package knows nothing of HTTP or Kubernetes and imports nothing of this
// project.
package exposition
