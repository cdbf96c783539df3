package charmfiles

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// A module is a parsed Terraform module. The keys of blocks are type and labels, such as
// "variable units".
type module struct {
	dir    string
	blocks map[string]*hclsyntax.Block
}

// A plan holds the evaluated blocks of a module. It supports only the part of the Terraform
// language that these modules use: variables, references to resources and modules, and
// merge. A nested block is an attribute with the name of its type; further blocks of the
// same type have a number appended.
type plan struct {
	outputs   map[string]cty.Value
	resources map[string]map[string]cty.Value // by type and name, such as "juju_application.prometheus"
}

func readModule(dir string) (module, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.tf"))
	if err != nil {
		return module{}, err
	}
	if len(files) == 0 {
		return module{}, fmt.Errorf("%s contains no Terraform files", dir)
	}
	m := module{dir: dir, blocks: map[string]*hclsyntax.Block{}}
	parser := hclparse.NewParser()
	for _, path := range files {
		file, diagnostics := parser.ParseHCLFile(path)
		if diagnostics.HasErrors() {
			return module{}, diagnostics
		}
		body := file.Body.(*hclsyntax.Body)
		for name := range body.Attributes {
			return module{}, fmt.Errorf("%s: attribute %s outside a block", path, name)
		}
		for _, block := range body.Blocks {
			key := block.Type
			for _, label := range block.Labels {
				key += " " + label
			}
			if m.blocks[key] != nil {
				return module{}, fmt.Errorf("%s: duplicate block %s", path, key)
			}
			m.blocks[key] = block
		}
	}
	return m, nil
}

// labelled returns the labels of the blocks of a type that has one label.
func (m module) labelled(blockType string) (names []string) {
	for _, block := range m.blocks {
		if block.Type == blockType && len(block.Labels) == 1 {
			names = append(names, block.Labels[0])
		}
	}
	slices.Sort(names)
	return names
}

// makePlan evaluates the module with the inputs.
func (m module) makePlan(inputs map[string]cty.Value) (plan, error) {
	variables, err := m.variables(inputs)
	if err != nil {
		return plan{}, err
	}
	p := plan{outputs: map[string]cty.Value{}, resources: map[string]map[string]cty.Value{}}
	modules := map[string]cty.Value{}
	pending := maps.Clone(m.blocks)
	maps.DeleteFunc(pending, func(_ string, b *hclsyntax.Block) bool {
		return b.Type == "variable" || b.Type == "terraform"
	})
	// A block that refers to a block not yet evaluated is tried again in the next round.
	for len(pending) > 0 {
		var lastErr error
		progress := false
		for _, key := range slices.Sorted(maps.Keys(pending)) {
			if err := m.planBlock(pending[key], p, modules, p.context(variables, modules)); err != nil {
				lastErr = err
				continue
			}
			delete(pending, key)
			progress = true
		}
		if !progress {
			return plan{}, fmt.Errorf("%s: %w", m.dir, lastErr)
		}
	}
	return p, nil
}

// variables returns the inputs or defaults, converted to the types of the variables.
func (m module) variables(inputs map[string]cty.Value) (map[string]cty.Value, error) {
	values := map[string]cty.Value{}
	for _, name := range m.labelled("variable") {
		attributes := m.blocks["variable "+name].Body.Attributes
		if attributes["type"] == nil || attributes["description"] == nil {
			return nil, fmt.Errorf("%s: variable %s: expected a type and a description", m.dir, name)
		}
		wantType, defaults, diagnostics := typeexpr.TypeConstraintWithDefaults(attributes["type"].Expr)
		if diagnostics.HasErrors() {
			return nil, diagnostics
		}
		value, given := inputs[name]
		if !given {
			if attributes["default"] == nil {
				return nil, fmt.Errorf("%s: no value for variable %s", m.dir, name)
			}
			if value, diagnostics = attributes["default"].Expr.Value(nil); diagnostics.HasErrors() {
				return nil, diagnostics
			}
		}
		if defaults != nil && !value.IsNull() {
			value = defaults.Apply(value)
		}
		converted, err := convert.Convert(value, wantType)
		if err != nil {
			return nil, fmt.Errorf("%s: variable %s: %w", m.dir, name, err)
		}
		values[name] = converted
	}
	for name := range inputs {
		if _, known := values[name]; !known {
			return nil, fmt.Errorf("%s: no variable %s", m.dir, name)
		}
	}
	return values, nil
}

func (p plan) context(variables, modules map[string]cty.Value) *hcl.EvalContext {
	byType := map[string]map[string]cty.Value{}
	for key, attributes := range p.resources {
		kind, name, _ := cutDot(key)
		if byType[kind] == nil {
			byType[kind] = map[string]cty.Value{}
		}
		byType[kind][name] = cty.ObjectVal(attributes)
	}
	ctx := &hcl.EvalContext{
		Variables: map[string]cty.Value{"var": cty.ObjectVal(variables), "module": cty.ObjectVal(modules)},
		Functions: map[string]function.Function{"merge": stdlib.MergeFunc},
	}
	for kind, resources := range byType {
		ctx.Variables[kind] = cty.ObjectVal(resources)
	}
	return ctx
}

func (m module) planBlock(block *hclsyntax.Block, p plan, modules map[string]cty.Value, ctx *hcl.EvalContext) error {
	attributes, err := evaluate(block.Body, ctx)
	if err != nil {
		return err
	}
	switch block.Type {
	case "output":
		p.outputs[block.Labels[0]] = attributes["value"]
	case "resource":
		p.resources[block.Labels[0]+"."+block.Labels[1]] = attributes
	case "module":
		child, err := readModule(filepath.Join(m.dir, attributes["source"].AsString()))
		if err != nil {
			return err
		}
		delete(attributes, "source")
		planned, err := child.makePlan(attributes)
		if err != nil {
			return err
		}
		modules[block.Labels[0]] = cty.ObjectVal(planned.outputs)
		for key, resource := range planned.resources {
			kind, name, _ := cutDot(key)
			p.resources[kind+".module_"+block.Labels[0]+"_"+name] = resource
		}
	default:
		return fmt.Errorf("%s: unsupported block %s", m.dir, block.Type)
	}
	return nil
}

func evaluate(body *hclsyntax.Body, ctx *hcl.EvalContext) (map[string]cty.Value, error) {
	values := map[string]cty.Value{}
	for name, attribute := range body.Attributes {
		value, diagnostics := attribute.Expr.Value(ctx)
		if diagnostics.HasErrors() {
			return nil, diagnostics
		}
		values[name] = value
	}
	for _, block := range body.Blocks {
		inner, err := evaluate(block.Body, ctx)
		if err != nil {
			return nil, err
		}
		name := block.Type
		for n := 2; values[name] != cty.NilVal; n++ {
			name = fmt.Sprintf("%s%d", block.Type, n)
		}
		values[name] = cty.ObjectVal(inner)
	}
	return values, nil
}

// unused returns the variables that no block refers to.
func (m module) unused() (names []string) {
	used := map[string]bool{}
	for _, block := range m.blocks {
		_ = hclsyntax.VisitAll(block.Body, func(node hclsyntax.Node) hcl.Diagnostics {
			reference, ok := node.(*hclsyntax.ScopeTraversalExpr)
			if ok && reference.Traversal.RootName() == "var" && len(reference.Traversal) > 1 {
				if step, ok := reference.Traversal[1].(hcl.TraverseAttr); ok {
					used[step.Name] = true
				}
			}
			return nil
		})
	}
	for _, name := range m.labelled("variable") {
		if !used[name] {
			names = append(names, name)
		}
	}
	return names
}

// misformatted returns the files that terraform fmt would change.
func (m module) misformatted(format func([]byte) []byte) (paths []string, err error) {
	files, err := filepath.Glob(filepath.Join(m.dir, "*.tf"))
	for _, path := range files {
		content, readErr := os.ReadFile(path)
		if readErr != nil {
			return nil, readErr
		}
		if string(format(content)) != string(content) {
			paths = append(paths, path)
		}
	}
	return paths, err
}
