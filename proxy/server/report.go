package server

import (
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"strings"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
	"github.com/canonical/metrics-k8s-proxy/proxy/scrape"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// maxLines is the maximum number of changes that are logged for one scrape.
const maxLines = 100

// maxConflicts is the maximum number of conflicts of a scrape that are known in the next one.
// Others are counted, but not logged.
const maxConflicts = 4096

// maxNamed is the maximum number of targets that a line about a conflict names.
const maxNamed = 5

// report counts the outcomes and conflicts. It logs each outcome that differs from the
// previous scrape, and each conflict that the previous scrape in this format did not have,
// because the conflicts depend on the format. A failure of a terminating pod is not logged.
func (s *Server) report(h *history, answer scrape.Answer, format exposition.Format) {
	s.metrics.gathered(answer)
	outcomes := outcomesOf(answer.Results)
	hashes, kept := s.conflictHashes(answer)
	before, keptBefore := h.replace(outcomes, format, kept)

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
	for i, c := range answer.Conflicts() {
		_, isKept := slices.BinarySearch(kept, hashes[i])
		if _, wasKept := slices.BinarySearch(keptBefore, hashes[i]); !isKept || wasKept {
			continue
		}
		if lines++; lines <= maxLines {
			s.opts.Logger.Warn("conflict resolved", "format", format.ContentType(), "kind", c.Kind, "family", c.Family, "targets", targetsOf(answer, c))
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

// conflictHashes returns a hash of each conflict of an answer, in their order, and of up to
// maxConflicts of them, sorted: those with the least hashes, so that no name has precedence.
func (s *Server) conflictHashes(answer scrape.Answer) (all, kept []uint64) {
	var h maphash.Hash
	h.SetSeed(s.seed)
	for _, c := range answer.Conflicts() {
		h.Reset()
		maphash.WriteComparable(&h, c.Kind)
		maphash.WriteComparable(&h, c.Family)
		maphash.WriteComparable(&h, len(c.Parts))
		for _, part := range c.Parts[:min(len(c.Parts), maxNamed)] {
			maphash.WriteComparable(&h, answer.Results[part].Target.ID)
		}
		all = append(all, h.Sum64())
	}
	kept = slices.Sorted(slices.Values(all))
	return all, slices.Clone(kept[:min(len(kept), maxConflicts)])
}

// targetsOf returns the names of up to maxNamed targets that a conflict concerns.
func targetsOf(answer scrape.Answer, c exposition.Conflict) string {
	var targets []string
	for _, part := range c.Parts[:min(len(c.Parts), maxNamed)] {
		t := answer.Results[part].Target
		targets = append(targets, t.Namespace+"/"+t.Pod)
	}
	if more := len(c.Parts) - len(targets); more > 0 {
		targets = append(targets, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(targets, ", ")
}
