package discovery

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// excerpt returns the start of a value, quoted, in at most 202 bytes.
func excerpt(value string) string {
	for runes := 80; ; runes /= 2 {
		if quoted := fmt.Sprintf("%.*q", runes, value); len(quoted) <= 202 {
			return quoted
		}
	}
}

// maxText is the maximum number of bytes of another program's text in a message.
const maxText = 290

// shorten returns the error with at most maxText bytes of its text, and at most twice as many
// once the text is quoted.
func shorten(err error) error {
	text := err.Error()
	short := strings.ToValidUTF8(text[:min(len(text), maxText)], "")
	for len(strconv.Quote(short)) > 2*maxText {
		short = strings.ToValidUTF8(short[:len(short)/2], "")
	}
	if short == text {
		return err
	}
	return errors.New(short + "...")
}

// maxJoined is the maximum number of errors in one message.
const maxJoined = 20

// join joins the first errors without repeating a text: the views of a namespace often fail
// the same way.
func join(errs []error) error {
	seen := map[string]bool{}
	var distinct []error
	for _, err := range errs {
		if text := err.Error(); !seen[text] {
			seen[text] = true
			distinct = append(distinct, err)
		}
	}
	if more := len(distinct) - maxJoined; more > 0 {
		distinct = append(distinct[:maxJoined], fmt.Errorf("and %d more", more))
	}
	return errors.Join(distinct...)
}
