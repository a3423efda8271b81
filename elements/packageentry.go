package elements

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// packageEntry is one request of a package-installs file, with the conditions
// under which it holds.
type packageEntry struct {
	PackageRequest
	line                 int
	phase                Phase
	uninstall, buildOnly bool
	installType          string
	arch, notArch        []string // nil: any, none
	python               string
	when                 []condition
}

// condition is a line of `when`.
type condition struct {
	text            string
	variable, value string
	equal           bool
}

// parsePackageInstalls reads a package-installs file, JSON or YAML: a mapping
// from package to nothing, a mapping of keys, or a list of such mappings. The
// Element of the entries is left empty.
func parsePackageInstalls(data []byte) ([]packageEntry, error) {
	doc, err := parseDocument(data)
	if err != nil {
		return nil, err
	}
	if doc.kind == isNothing {
		return nil, nil
	}
	if doc.kind != isMapping {
		return nil, fmt.Errorf("line %d: found %s; want a mapping from package to options", doc.line, doc.describe())
	}
	var entries []packageEntry
	for _, f := range doc.fields {
		if strings.TrimSpace(f.key) == "" {
			return nil, fmt.Errorf("line %d: the name of a package is empty", f.line)
		}
		some, err := parsePackage(f)
		if err != nil {
			return nil, fmt.Errorf("line %d, package %q: %w", f.line, f.key, err)
		}
		entries = append(entries, some...)
	}
	return entries, nil
}

func parsePackage(f field) ([]packageEntry, error) {
	options := []value{f.value}
	if f.value.kind == isList && len(f.value.items) > 0 {
		options = f.value.items
	}
	var entries []packageEntry
	for _, o := range options {
		e := packageEntry{line: f.line, phase: Install}
		e.Package = f.key
		empty := o.kind == isNothing || o.kind == isList && len(o.items) == 0 || o.kind == isText && o.text == ""
		if o.kind != isMapping && !empty {
			return nil, fmt.Errorf("found %s; allowed: nothing, a mapping of options, or a list of such mappings", o.describe())
		}
		for _, option := range o.fields {
			if err := e.set(option); err != nil {
				return nil, fmt.Errorf("%s on line %d: %w", option.key, option.line, err)
			}
		}
		if e.arch != nil && e.notArch != nil {
			return nil, fmt.Errorf("arch and not-arch exclude each other; give one")
		}
		entries = append(entries, e)
	}
	return entries, nil
}

var packageKeys = []string{"phase", "uninstall", "build-only", "installtype", "arch", "not-arch", "dib_python_version", "when"}

func (e *packageEntry) set(option field) (err error) {
	switch v := option.value; option.key {
	case "phase":
		err = e.setPhase(v)
	case "uninstall":
		e.uninstall, err = boolean(v)
	case "build-only":
		e.buildOnly, err = boolean(v)
	case "installtype":
		e.installType, err = word(v, "a word such as source or package")
	case "arch":
		e.arch, err = commaList(v)
	case "not-arch":
		e.notArch, err = commaList(v)
	case "dib_python_version":
		if e.python, err = word(v, "2 or 3"); err == nil && e.python != "2" && e.python != "3" {
			err = fmt.Errorf("found %q; allowed: 2 or 3", e.python)
		}
	case "when":
		e.when, err = conditions(v)
	default:
		err = fmt.Errorf("unknown key; allowed: %s%s", strings.Join(packageKeys, ", "), didYouMean(option.key, packageKeys))
	}
	return err
}

func (e *packageEntry) setPhase(v value) error {
	var allowed []string
	for _, p := range packagePhases() {
		if v.text == p.Dir() && v.kind == isText {
			e.phase = p
			return nil
		}
		allowed = append(allowed, p.Dir())
	}
	return fmt.Errorf("found %s; allowed: %s%s", v.describe(), strings.Join(allowed, ", "), didYouMean(v.text, allowed))
}

// boolean reads a switch. A key without a value is on; every spelling that a
// YAML of either age has is understood.
func boolean(v value) (bool, error) {
	text, ok := v.scalar()
	switch strings.ToLower(text) {
	case "true", "yes", "on", "1":
		return true, nil
	case "false", "no", "off", "0":
		return false, nil
	case "":
		if ok || v.kind == isNothing {
			return true, nil
		}
	}
	return false, fmt.Errorf("found %s; allowed: true or false", v.describe())
}

func word(v value, allowed string) (string, error) {
	text, ok := v.scalar()
	if text = strings.TrimSpace(text); !ok || text == "" {
		return "", fmt.Errorf("found %s; allowed: %s", v.describe(), allowed)
	}
	return text, nil
}

func commaList(v value) ([]string, error) {
	text, err := word(v, "names of architectures with commas between them")
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range strings.SplitSeq(text, ",") {
		names = append(names, strings.TrimSpace(name))
	}
	return names, nil
}

func conditions(v value) ([]condition, error) {
	lines := []value{v}
	if v.kind == isList {
		lines = v.items
	}
	var all []condition
	for _, l := range lines {
		c, err := parseCondition(l)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

var conditionForm = regexp.MustCompile(`(?s)^\s*(\w+)\s*(!=|=)\s*(.*)$`)

func parseCondition(v value) (condition, error) {
	m := conditionForm.FindStringSubmatch(v.text)
	if v.kind != isText || m == nil || strings.HasPrefix(m[3], "=") {
		return condition{}, fmt.Errorf("found %s; allowed: `VARIABLE = value` or `VARIABLE != value`, or a list of such lines", v.describe())
	}
	return condition{text: v.text, variable: m[1], equal: m[2] == "=", value: m[3]}, nil
}

// wanted applies the filters in the order that authors know: a `when` whose
// variable is not set is a mistake only for an entry that the others let pass.
func (e packageEntry) wanted(env map[string]string) (bool, error) {
	switch {
	case e.installType != "" && e.installType != InstallType(env, e.Element):
		return false, nil
	case e.arch != nil && !slices.Contains(e.arch, env["ARCH"]):
		return false, nil
	case slices.Contains(e.notArch, env["ARCH"]):
		return false, nil
	case e.python != "" && e.python != env["DIB_PYTHON_VERSION"]:
		return false, nil
	}
	for _, c := range e.when {
		value, set := env[c.variable]
		if !set {
			return false, fmt.Errorf("when: `%s`: the variable %s is not set; export it or set it in environment.d", c.text, c.variable)
		}
		if (value == c.value) != c.equal {
			return false, nil
		}
	}
	return true, nil
}
