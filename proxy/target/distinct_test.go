package target

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func newTarget(namespace, pod, id string, labels ...Label) *Target {
	return &Target{Namespace: namespace, Pod: pod, ID: id, URL: "http://" + id, Labels: labels}
}

func TestDistinctOrder(t *testing.T) {
	var targets []*Target
	for _, key := range []string{"a/x/1", "a/x/2", "a/y/0", "b/a/1", "b/x/1"} {
		parts := strings.Split(key, "/")
		targets = append(targets, newTarget(parts[0], parts[1], parts[2], Label{Name: "key", Value: key}))
	}
	for range 20 {
		shuffled := slices.Clone(targets)
		rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if got := Distinct(shuffled); !slices.Equal(got, targets) {
			t.Fatalf("the order is %v", keys(got))
		}
	}
}

func keys(targets []*Target) []string {
	var all []string
	for _, t := range targets {
		all = append(all, fmt.Sprintf("%s/%s/%s", t.Namespace, t.Pod, t.ID))
	}
	return all
}

// TestIdentity checks that the later one of two targets with the same labels is refused,
// regardless of the input order, and that the given targets are not changed.
func TestIdentity(t *testing.T) {
	same := Label{Name: "app", Value: "web"}
	first, second, third := newTarget("ns", "a", "1", same), newTarget("ns", "b", "2", same), newTarget("ns", "c", "3", same)
	other := newTarget("ns", "d", "4", Label{Name: "app", Value: "db"})
	tricky := newTarget("ns", "e", "5", Label{Name: "app", Value: `web"} {"x`})
	got := Distinct([]*Target{tricky, third, other, second, first})
	if got[0] != first || got[3] != other || got[4] != tricky {
		t.Errorf("the first target, or one with other labels, was refused: %s", keys(got))
	}
	for i, given := range map[int]*Target{1: second, 2: third} {
		p := got[i].Problem
		if p == nil || p.Reason != Identity || !strings.Contains(p.Err.Error(), "pod a in namespace ns has the same labels") {
			t.Errorf("the problem of pod %s is %+v, want identity, with the first pod named", given.Pod, p)
		}
		if got[i].ID != given.ID || given.Problem != nil {
			t.Errorf("target %s became %+v", given.ID, got[i])
		}
	}
}

// Label sets are equal whatever their order, and whether an empty label is there.
func TestEqualLabelSets(t *testing.T) {
	job, instance := Label{"job", "x"}, Label{"instance", "i"}
	first := newTarget("ns", "a", "1", job, instance)
	got := Distinct([]*Target{
		first,
		newTarget("ns", "b", "2", instance, job),
		newTarget("ns", "c", "3", job, instance, Label{"k8s_port", ""}),
		newTarget("ns", "d", "4", job, instance, Label{"k8s_port", "80"}),
		newTarget("ns", "e", "5", Label{"job", "i"}, Label{"instance", "x"}),
	})
	for i, isRefused := range []bool{false, true, true, false, false} {
		if (got[i].Problem != nil) != isRefused {
			t.Errorf("the problem of pod %s is %+v, want one: %t", got[i].Pod, got[i].Problem, isRefused)
		}
	}
	if first.Labels[0] != job {
		t.Error("the labels of a target were sorted")
	}
}

// TestDistinctMemory checks that comparing labels does not copy their values, which pods
// choose: a control character takes four bytes when it is quoted.
func TestDistinctMemory(t *testing.T) {
	const n, size = 1000, 1024
	value := strings.Repeat("\x01", size)
	var targets []*Target
	for i := range n {
		targets = append(targets, newTarget("ns", "pod", fmt.Sprint(i), Label{Name: "a", Value: value}, Label{Name: "port", Value: fmt.Sprint(i)}))
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	Distinct(targets)
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / n; got > size {
		t.Errorf("%d bytes were allocated for each target, want less than its labels have", got)
	}
	for _, target := range targets {
		if target.Problem != nil {
			t.Fatalf("target %s has the problem %v", target.ID, target.Problem.Err)
		}
	}
}
