// Package exposition merges the expositions of many targets into one valid Prometheus
// exposition. In the comments of the package, a body is the exposition that one target
// returns, and the output is the merged exposition.
//
// [Negotiate] chooses the format of the output: text, OpenMetrics or protobuf. [Read]
// and [Reader.Read] read a body in any of these formats and check every byte of it by
// the rules of Prometheus's own parser (model/textparse). A body that breaks a rule is
// rejected as a whole, as Prometheus would reject it. [Merge] decides, family by
// family, how the bodies combine. [Merged.WriteTo] writes the output: at most one HELP
// and one TYPE per family, and within a family the lines of each body in one block.
// They keep their order, except that OpenMetrics output brings the samples of each
// metric together. The labels of the target are inserted into each line as it is
// copied.
//
// Two engines read bodies, with identical results.
//
// # The reference engine
//
// [Read] reads a whole body and indexes it by family (Body.samples). It works on bytes
// and creates no object per sample. A line that is already in the canonical form
//
//	name{label="value",label="value"} value timestamp
//
// is kept as an offset into the body and copied once. Other lines are rewritten into
// that form while they are read, so that merging handles only one form:
//
//   - lines in another spelling that the format allows: blanks, quoted names, trailing
//     commas, a raw line feed in a label value
//   - lines with a label that collides with a label of the target
//   - lines with a name that must be escaped for the output
//   - lines with a timestamp or exemplar that the output format writes differently
//
// In protobuf output, a Metric message takes the place of a line, and the labels of the
// target are appended to it.
//
// # Shapes
//
// Bodies of one workload differ mostly in their values. [Reader] learns the shape of
// each family from the first body that has it, using the parser of the reference
// engine. It streams later bodies through the shapes, and stores of a body only what
// the shapes do not contain:
//
//	the body as received                      its shapes, for all bodies          the packed body
//	-------------------------------------     -------------------------------     -----------
//	# HELP http_requests_total Requests.  ┐
//	# TYPE http_requests_total counter    ┴   head of shape 7                     visit 7:
//	http_requests_total{code="200"} 27        line 0: …{code="200"} _             run of 2: 27 3
//	http_requests_total{code="404"} 3         line 1: …{code="404"} _
//	http_requests_total{code="503"} 1         line 2: …{code="500"} _             line 2 with 503: 1
//	# TYPE process_open_fds gauge         -   head of shape 8                     visit 8:
//	process_open_fds 11                       line 0: process_open_fds _          run of 1: 11
//
// A visit is the occurrence of a shape in a body. A tail is the rest of a line from its
// value on.
//
// If the next line is the one that the shape expects, reading it takes one memory
// comparison and a check of the number (packer.run). Otherwise, the packer looks for
// the line a little further on in the shape, then for a line that differs only in label
// values, then for a line with the same series. If the shape has no such line, the
// packer stores the whole line. A learner adds lines to the shape that several targets
// have and the shape lacks. To write a family, the writer iterates over its visits and
// joins line, labels and tail (writer.visits).
//
// A target deviates from the shapes in the same way as in its last scrape, because its
// series are the same. The Reader therefore keeps a packed body that deviates, and
// reads the next body of the target along it (packer.follow). The kept body predicts
// each line: a line of the shape, a line of the shape with other label values, or a
// stored line. While the prediction holds, the packer does not search, and does not
// check for duplicates. At the first line that differs, the shape takes over.
//
// A body is odd if it cannot be read family by family, for example because a family is
// in two places, two families use the same name, a TYPE is missing, or there is a
// syntax error. Packing loses nothing, so the packer restores what it has packed, and
// the reference engine reads the body. Shapes handle the plain case only, and leave
// every other decision to the reference engine. FuzzMerge and the tests of Reader
// compare both engines.
//
// The package contains nothing about HTTP or Kubernetes and imports no other package of
// this project.
package exposition
