//go:build tools

package pebble

import _ "github.com/canonical/pebble/cmd/pebble" // the daemon
