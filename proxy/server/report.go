package server

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
	"github.com/canonical/metrics-k8s-proxy/proxy/scrape"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// maxLines is the maximum number of changes that are logged for one scrape.
const maxLines = 100

// report counts the outcomes and conflicts. It logs each outcome that differs from the
// previous scrape, and each conflict that the previous scrape in this format did not have,
// because the conflicts depend on the format. A failure of a terminating pod is not logged.
func (s *Server) report(h *history, answer scrape.Answer, format exposition.Format) {
	s.metrics.gathered(answer)
	outcomes := outcomesOf(answer.Results)
	conflicts := conflictsOf(answer)
	known := make(map[conflict]bool, len(conflicts))
	for _, c := range conflicts {
		known[c] = true
	}
	before, knownBefore := h.replace(outcomes, format, known)

	lines := 0
	for _, r := range answer.Results {
		was := downIn(before, r.Target.ID)
		if downIn(outcomes, r.Target.ID) == was || r.Target.Terminating && r.Outcome.Reason != target.OK {
			continue
		}
		if lines++; lines <= maxLines {
			logOutcome(s.opts.Logger, r, was)
		}
	}
	for _, c := range conflicts {
		if knownBefore[c] {
			continue
		}
		if lines++; lines <= maxLines {
			s.opts.Logger.Warn("conflict resolved", "format", format.ContentType(), "kind", c.kind, "family", c.family, "targets", c.targets)
		}
	}
	if lines > maxLines {
		s.opts.Logger.Warn("further changes are not logged", "changes", lines, "logged", maxLines)
	}
}

func logOutcome(log *slog.Logger, r scrape.Result, before target.Reason) {
	log = log.With("namespace", r.Target.Namespace, "pod", r.Target.Pod, "url", r.Target.URL)
	if r.Outcome.Reason == target.OK {
		log.Info("target is up again", "was", before)
		return
	}
	log.Warn("target is down", "reason", r.Outcome.Reason, "err", r.Outcome.Err, "duration", r.Outcome.Duration, "bytes", r.Outcome.Bytes)
}

// conflict is a conflict that the merge resolved in one family, with the names of up to five of
// the affected targets.
type conflict struct {
	kind            exposition.ConflictKind
	family, targets string
}

func conflictsOf(answer scrape.Answer) []conflict {
	var conflicts []conflict
	for _, c := range answer.Conflicts() {
		var targets []string
		for _, part := range c.Parts[:min(len(c.Parts), 5)] {
			t := answer.Results[part].Target
			targets = append(targets, t.Namespace+"/"+t.Pod)
		}
		if more := len(c.Parts) - len(targets); more > 0 {
			targets = append(targets, fmt.Sprintf("and %d more", more))
		}
		conflicts = append(conflicts, conflict{c.Kind, c.Family, strings.Join(targets, ", ")})
	}
	return conflicts
}
