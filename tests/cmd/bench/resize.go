package main

import (
	"bytes"
	"fmt"
	"slices"
)

// resize grows or shrinks a body to about size bytes. It does not change a body whose size
// is within 10 %. The body of an idle component is smaller than that of a component of a
// busy cluster, whose histograms have more label values.
func resize(body []byte, size int) ([]byte, error) {
	switch {
	case len(body) > size+size/10:
		return shrink(body, size), nil
	case len(body) < size-size/10:
		return grow(body, size)
	}
	return body, nil
}

// shrink removes samples from the end of the largest family until the body is no larger
// than size, or the family has no samples.
func shrink(body []byte, size int) []byte {
	families := splitFamilies(body)
	largest := 0
	for i, family := range families {
		if len(family) > len(families[largest]) {
			largest = i
		}
	}
	family := families[largest]
	for left := len(body); left > size; {
		lastLine := bytes.LastIndexByte(family[:len(family)-1], '\n') + 1
		if family[lastLine] == '#' {
			break
		}
		left -= len(family) - lastLine
		family = family[:lastLine]
	}
	families[largest] = family
	return bytes.Join(families, nil)
}

// grow repeats the labelled series of the histograms with new values of a label, until no
// family fits into size. If histograms have a label resource, as those of the API server
// do, only these are repeated, as if there were more resources.
func grow(body []byte, size int) ([]byte, error) {
	families := splitFamilies(body)
	var histograms, ofResources []int // indexes of families
	for i, family := range families {
		if !bytes.Contains(family, []byte(" histogram\n")) {
			continue
		}
		histograms = append(histograms, i)
		if bytes.Contains(family, []byte(`resource="`)) {
			ofResources = append(ofResources, i)
		}
	}
	if len(ofResources) > 0 {
		histograms = ofResources
	}
	originals := slices.Clone(families)
	left := size - len(body)
	for round, added := 2, true; added; round++ {
		added = false
		for _, i := range histograms {
			more, err := repeatSeries(originals[i], fmt.Sprintf("-%d", round))
			if err != nil {
				return nil, err
			}
			if len(more) == 0 || len(more) > left {
				continue
			}
			families[i] = append(bytes.Clone(families[i]), more...)
			left -= len(more)
			added = true
		}
	}
	return bytes.Join(families, nil), nil
}

// repeatSeries returns the samples of a family that have labels other than le. It appends
// the suffix to one label value of each.
func repeatSeries(family []byte, suffix string) ([]byte, error) {
	var out []byte
	for line := range bytes.Lines(family) {
		if line[0] == '#' {
			continue
		}
		s, err := splitSample(line)
		if err != nil {
			return nil, err
		}
		if len(s.labels) == 0 || bytes.HasPrefix(s.labels, []byte("le=")) {
			continue
		}
		s.labels = mark(s.labels, "resource", suffix)
		out = s.appendTo(out)
	}
	return out, nil
}

// splitFamilies splits a body before each HELP, or TYPE if there is no HELP.
func splitFamilies(body []byte) [][]byte {
	var families [][]byte
	start, inSamples, at := 0, true, 0
	for line := range bytes.Lines(body) {
		if line[0] == '#' && inSamples && at > start {
			families = append(families, body[start:at])
			start = at
		}
		inSamples = line[0] != '#'
		at += len(line)
	}
	return append(families, body[start:])
}
