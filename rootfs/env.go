package rootfs

import (
	"bytes"
	"maps"
	"path"
	"regexp"
	"strings"
)

// unkeyed are variables that a hook receives but that no key depends on: how a
// build reaches the network, where this run keeps its files, how much it says.
// Whoever makes the content of an image depend on one of them gets a layer that
// others share; so nothing that describes the image belongs here.
var unkeyed = set(
	"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy",
	"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY",
	"TERM", "COLUMNS", "LINES",
	"DIB_DEBUG_TRACE", "DIB_OFFLINE", "DIB_IMAGE_CACHE", "DIB_LOCKFILES", "DIB_QUIET", "DIB_NO_TIMESTAMP",
	"DIB_NO_TMPFS", "DIB_MIN_TMPFS",
	"TMP_BUILD_DIR", "TMP_IMAGE_DIR", "TMP_HOOKS_PATH", "TMP_MOUNT_PATH", "TARGET_ROOT",
	"DIB_BLOCK_DEVICE_PARAMS_YAML", "DIB_PYTHON_EXEC", "_LIB", "ELEMENTS_PATH",
)

// unkeyedOutside are handed, unkeyed, to hooks on the build host only: they say
// who builds, which no image may depend on.
var unkeyedOutside = set("HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR", "TMPDIR", "TMP_DIR", "PWD", "SHELL")

// defaultPass are the patterns of variables that tools read on their own,
// without a hook naming them. LANG and LC_* are not among them: LC_ALL=C is the
// contract's and overrules both. GIT_* and GO* are narrowed to what configures
// the tools, since CI services put job ids and secrets into GIT_COMMIT or
// GOOGLE_CREDENTIALS.
var defaultPass = []string{
	"PIP_*", "npm_config_*", "NPM_CONFIG_*", "CARGO_*", "GIT_CONFIG_*", "GIT_SSL_*", "GIT_SSH*",
	"GOPROXY", "GOPRIVATE", "GOFLAGS", "GONOPROXY", "GONOSUMDB", "GOSUMDB", "GOINSECURE",
}

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// names is the set of identifiers that occur in files, and whether one of the
// files reads the environment as a whole.
type names struct {
	words map[string]bool
	dumps bool
}

var (
	identifier = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*`)
	// dump finds what hands a script every variable there is. The interpreter
	// line is cut off first: "#!/usr/bin/env bash" reads nothing.
	dump = regexp.MustCompile(`(?m)(^|[\s;|&(` + "`" + `])env(\s*($|[|;>)&` + "`" + `])|\s+-0|\s+--null)` +
		`|\bprintenv\b|\bdeclare\s+-[a-zA-Z]*p|\btypeset\s+-[a-zA-Z]*p|\bexport\s+-p|\bcompgen\s+-[ve]\b|\$\{!|\bos\.environ\b|/proc/self/environ`)
)

// functionsRead are the variables that our functions in $_LIB read for those
// who call them.
var functionsRead = map[string][]string{
	"get_image_element_array":   {"IMAGE_ELEMENT_YAML"},
	"select_boot_kernel_initrd": {"DISTRO_NAME", "DIB_BAREMETAL_KERNEL_PATTERN", "DIB_BAREMETAL_INITRD_PATTERN"},
}

// scan adds the identifiers of one file.
func (n *names) scan(data []byte) {
	if bytes.HasPrefix(data, []byte("#!")) {
		if _, rest, found := bytes.Cut(data, []byte("\n")); found {
			data = rest
		}
	}
	for _, word := range identifier.FindAll(data, -1) {
		n.words[string(word)] = true
	}
	for function, reads := range functionsRead {
		if n.words[function] {
			for _, name := range reads {
				n.words[name] = true
			}
		}
	}
	n.dumps = n.dumps || dump.Match(data)
}

// scanPrograms adds the identifiers of an environment.d file that programs, and
// not only hooks, may read.
func (n *names) scanPrograms(data []byte) {
	for _, word := range identifier.FindAll(data, -1) {
		if !bytes.HasPrefix(word, []byte("DIB_")) {
			n.words[string(word)] = true
		}
	}
}

// Environment is what hooks may see, by name.
type Environment map[string]string

// visible is the part of env that a phase receives, and the part of that which
// is keyed. What is not keyed is not seen, but for the fixed lists above.
func (env Environment) visible(n names, outside bool, pass []string) (all, keyed Environment) {
	all, keyed = Environment{}, Environment{}
	n = n.withFunctions(env)
	for name, value := range env {
		switch {
		case unkeyed[name] || outside && unkeyedOutside[name]:
			all[name] = value
		case n.words[functionName(name)], n.dumps && strings.HasPrefix(name, "DIB_"), matches(pass, name):
			if unkeyedOutside[name] {
				continue // HOME is the runner's inside
			}
			all[name], keyed[name] = value, value
		}
	}
	return all, keyed
}

// functionName is the name by which scripts call what a variable holds: bash
// hands on an exported function f as BASH_FUNC_f%%.
func functionName(variable string) string {
	if f, ok := strings.CutPrefix(variable, "BASH_FUNC_"); ok {
		if f, ok = strings.CutSuffix(f, "%%"); ok {
			return f
		}
	}
	return variable
}

// withFunctions adds what the exported functions that n names read themselves,
// and the functions that those call.
func (n names) withFunctions(env Environment) names {
	out := names{words: maps.Clone(n.words), dumps: n.dumps}
	seen := map[string]bool{}
	for more := true; more; {
		more = false
		for variable, body := range env {
			if f := functionName(variable); f != variable && out.words[f] && !seen[f] {
				seen[f], more = true, true
				out.scan([]byte(body))
			}
		}
	}
	return out
}

func matches(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(p, name); err == nil && ok {
			return true
		}
	}
	return false
}

// list gives the environment as NAME=value, sorted.
func (env Environment) list() []string {
	var out []string
	for _, name := range sortedKeys(env) {
		out = append(out, name+"="+env[name])
	}
	return out
}

// with is a copy of env with more laid over it.
func (env Environment) with(more Environment) Environment {
	out := make(Environment, len(env)+len(more))
	for k, v := range env {
		out[k] = v
	}
	for k, v := range more {
		out[k] = v
	}
	return out
}
