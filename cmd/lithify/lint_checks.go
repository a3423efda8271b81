package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/parser"
	"github.com/lithify/lithify/elements"
)

// lintChecks are all checks of single files but flake8's, in the order of their
// findings.
var lintChecks = []struct {
	id    string // "" cannot be switched off
	check func(f *lintFile) []finding
}{
	{"", lintRepository},
	{"executable", lintExecutable},
	{"indent", lintIndent},
	{"", lintDeps},
	{"", lintBash},
	{"sete", lintOption(regexp.MustCompile(`^set -([A-Za-z]*e|o errexit)`), "set -e")},
	{"setu", lintOption(regexp.MustCompile(`^set -([A-Za-z]*u|o nounset)`), "set -u")},
	{"setpipefail", lintOption(regexp.MustCompile(`^set -[A-Za-z]*o pipefail`), "set -o pipefail")},
	{"dibdebugtrace", lintTrace},
	{"", lintEnvironment},
	{"", lintExport},
	{"safe_sudo", lintSudo},
	{"which", lintWhich},
	{"tabindent", lintTabs},
	{"newline", lintNewline},
	{"mddocs", lintMarkdown},
	{"", lintData},
}

// libraryChecks are those that LIB_DIR gets: its files are sourced by others.
var libraryChecks = []string{"tabindent", "newline"}

func (l *linter) check(f *lintFile) {
	for _, c := range lintChecks {
		if f.library && !slices.Contains(libraryChecks, c.id) {
			continue
		}
		if c.id != "" && (slices.Contains(l.ignore, c.id) || slices.Contains(f.without, c.id)) {
			continue
		}
		for _, found := range c.check(f) {
			found.check, found.path = c.id, f.path
			l.found = append(l.found, found)
		}
	}
}

func whole(text string) []finding { return []finding{{text: text}} }

// eachLine gives a finding for every line that is one.
func (f *lintFile) eachLine(text string, wrong func(line string) bool) []finding {
	var found []finding
	for i, line := range f.lines {
		if wrong(line) {
			found = append(found, finding{line: i + 1, text: text})
		}
	}
	return found
}

// eachCommand is eachLine for lines that a backslash joins; the finding has the
// first one's number.
func (f *lintFile) eachCommand(text string, wrong func(line string) bool) []finding {
	var found []finding
	for i := 0; i < len(f.lines); i++ {
		first, line := i, f.lines[i]
		for strings.HasSuffix(line, "\\") && i+1 < len(f.lines) {
			i++
			line = strings.TrimSuffix(line, "\\") + f.lines[i]
		}
		if wrong(line) {
			found = append(found, finding{line: first + 1, text: text})
		}
	}
	return found
}

func (f *lintFile) endsInNewline() bool { return len(f.data) == 0 || f.data[len(f.data)-1] == '\n' }

func lintRepository(f *lintFile) []finding {
	if !strings.HasPrefix(f.name, "source-repository-") || f.endsInNewline() {
		return nil
	}
	return whole("a file of source repositories ends without a newline: its last line is not read everywhere")
}

// lintExecutable leaves out environment.d, where an x bit is a mistake.
func lintExecutable(f *lintFile) []finding {
	if f.shebang() == "" || f.runs || f.folder == "environment.d" {
		return nil
	}
	return whole("begins with #! and is not executable")
}

func lintDeps(f *lintFile) []finding {
	if f.folder != "" || f.name != "element-deps" {
		return nil
	}
	last := ""
	for i, line := range f.lines {
		name, _, _ := strings.Cut(line, "#")
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		if name < last {
			return []finding{{line: i + 1, text: fmt.Sprintf("not sorted: %q after %q", name, last)}}
		}
		last = name
	}
	return nil
}

func lintBash(f *lintFile) []finding {
	if !f.isScript() || f.interpreter() != "bash" || f.lines[0] == "#!/bin/bash" {
		return nil
	}
	return []finding{{line: 1, text: fmt.Sprintf("bash scripts begin with #!/bin/bash, this one with %q", f.lines[0])}}
}

func lintOption(want *regexp.Regexp, option string) func(f *lintFile) []finding {
	return func(f *lintFile) []finding {
		if !f.isScript() || f.interpreter() != "bash" || slices.ContainsFunc(f.lines, want.MatchString) {
			return nil
		}
		return whole("no line begins with " + option)
	}
}

func lintTrace(f *lintFile) []finding {
	if !f.isScript() || f.interpreter() != "bash" || strings.Contains(string(f.data), "DIB_DEBUG_TRACE") {
		return nil
	}
	return whole("DIB_DEBUG_TRACE is nowhere: tracing cannot be switched on")
}

var setTrace = regexp.MustCompile(`^\s*set -[A-Za-z]*x`)

func lintEnvironment(f *lintFile) []finding {
	if f.folder != "environment.d" {
		return nil
	}
	found := f.eachLine("set -x in environment.d is left on for all that come after", setTrace.MatchString)
	if f.runs {
		found = append(found, finding{text: "files of environment.d are sourced: no x bit"})
	}
	return found
}

// The status of what is substituted is lost. Arithmetic has none.
var exportSubstitution = regexp.MustCompile(`^[^#]*\bexport\s+[A-Za-z_]\w*=["']?[^\s"';#]*\$\([^(]`)

func lintExport(f *lintFile) []finding {
	if !f.isScript() || !f.isShell() {
		return nil
	}
	return f.eachLine("export and $( ) on one line hide that the command failed: assign first, then export", exportSubstitution.MatchString)
}

var (
	outsideFolders = []string{"root.d", "extra-data.d", "block-device.d", "finalise.d", "cleanup.d"}
	sudoCall       = regexp.MustCompile(`(^|[^\w-])sudo\s`)
	sudoIsSafe     = regexp.MustCompile(`TARGET_ROOT|IMAGE_BLOCK_DEVICE|TMP_MOUNT_PATH|TMP_IMAGE_PATH|install-packages|^\s*#|dib-lint: safe_sudo`)
)

func lintSudo(f *lintFile) []finding {
	if !f.isScript() || !slices.Contains(outsideFolders, f.folder) {
		return nil
	}
	return f.eachCommand("sudo without a path of the target may change the build host", func(line string) bool {
		return sudoCall.MatchString(line) && !sudoIsSafe.MatchString(line)
	})
}

var whichCall = regexp.MustCompile(`(^|[^\w.-])which\s`)

func lintWhich(f *lintFile) []finding {
	if !f.isScript() || !f.isShell() {
		return nil
	}
	return f.eachCommand("which is not everywhere: use command -v", func(line string) bool {
		code := strings.TrimSpace(line)
		return whichCall.MatchString(line) && !strings.HasPrefix(code, "#") && !strings.Contains(line, "dib-lint: which")
	})
}

var tabIndent = regexp.MustCompile(`^ *\t`)

// isPeoples says whether people read and edit the file as it is: documents,
// programs, the library. Data may be what a program wants.
func (f *lintFile) isPeoples() bool { return f.library || f.runs || filepath.Ext(f.name) == ".rst" }

func lintTabs(f *lintFile) []finding {
	if !f.isPeoples() {
		return nil
	}
	return f.eachLine("indented by a tab", tabIndent.MatchString)
}

func lintNewline(f *lintFile) []finding {
	if !f.isPeoples() || f.endsInNewline() {
		return nil
	}
	return whole("ends without a newline")
}

func lintMarkdown(f *lintFile) []finding {
	if filepath.Ext(f.name) != ".md" {
		return nil
	}
	return whole("documents of elements are .rst files")
}

// lintData reads what programs will read.
func lintData(f *lintFile) []finding {
	var err error
	switch {
	case filepath.Ext(f.name) == ".yaml":
		if err = elements.CheckNesting(f.data); err == nil {
			err = parseYAMLSyntax(f.data)
		}
		if err != nil {
			err = fmt.Errorf("not YAML: %w", err)
		}
	case f.name == "pkg-map" && !f.runs:
		if e := json.Unmarshal(f.data, new(any)); e != nil {
			err = fmt.Errorf("not JSON: %w", e)
		}
	}
	if err != nil {
		return whole(firstLine(err.Error()))
	}
	return nil
}

func parseYAMLSyntax(data []byte) (err error) {
	defer func() { // the parser is not ours
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	_, err = parser.ParseBytes(data, 0)
	return err
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
