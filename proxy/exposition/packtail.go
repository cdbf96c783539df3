package exposition

// plainTail returns the length of a plain number including its line feed, or 0 for
// everything else: other numbers, timestamps, exemplars. The text must contain a line
// feed.
func plainTail(text []byte) int {
	i := 0
	if text[0] == '-' || text[0] == '+' {
		i++
	}
	digits := i
	for isDigit(text[i]) {
		i++
	}
	if i == digits {
		return 0
	}
	if text[i] == '.' {
		i++
		for isDigit(text[i]) {
			i++
		}
	}
	if i > 32 { // might be out of range
		return 0
	}
	if text[i] == 'e' || text[i] == 'E' {
		i++
		if text[i] == '-' || text[i] == '+' {
			i++
		}
		digits = i
		for isDigit(text[i]) {
			i++
		}
		if i == digits || i > digits+2 {
			return 0
		}
	}
	if text[i] != '\n' {
		return 0
	}
	return i + 1
}

// tail parses the tail at an offset, and returns it as received and as it is written.
func (p *packer) tail(at int) (raw, out []byte, err error) {
	if n := plainTail(p.text[at:]); n > 0 {
		return p.text[at : at+n], p.text[at : at+n], nil
	}
	s := scanner{text: p.text, pos: at}
	l := line{canonical: true}
	if p.in == openMetrics {
		s.pos-- // the blank
		err = s.omTail(&l)
	} else {
		err = s.valueAndTimestamp(&l)
	}
	if err != nil || !l.fit(p.in, p.opts.Format.syntax) {
		return nil, nil, errOdd
	}
	raw = p.text[at:s.pos]
	if l.canonical && l.end == s.pos-1 {
		return raw, raw, nil
	}
	return raw, append(l.appendTail(nil), '\n'), nil
}
