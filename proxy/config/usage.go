package config

import (
	"fmt"
	"io"
	"reflect"
	"text/tabwriter"
)

// Usage prints one line for each variable, with its default and description.
func Usage(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range settingsOf(reflect.TypeFor[Config]()) {
		value := s.value
		if value == "" {
			value = "-"
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\n", s.variable, value, s.help)
	}
	return table.Flush()
}
