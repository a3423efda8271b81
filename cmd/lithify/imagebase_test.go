package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

const basedList = `
- {imagename: low, elements: [os], arch: arm64, environment: {A: low, ONLY_LOW: "1", DIB_DEV_USER_PASSWORD: hush}}
- {imagename: mid, base: low, elements: [mid], packages: [p], environment: {A: mid, MID: "2"}}
- {imagename: top, base: mid, elements: [top], environment: {A: top, TOP: "3"}}
`

// TestBaseOptions: a build learns of each image below it exactly the command and
// the environment that that image's own build has.
func TestBaseOptions(t *testing.T) {
	caller := map[string]string{"PATH": "/bin", "A": "caller", "TOP": "caller's", "HOME": t.TempDir()}
	images := imagesFrom(t, basedList)
	options := map[string]Options{}
	for _, e := range images {
		var env []string
		for name, value := range e.environ(caller) {
			env = append(env, name+"="+value)
		}
		o, err := parseOptions(imageCommand, e.arguments(), env)
		if err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		options[e.name] = o
	}
	for o := options["top"]; ; o = *o.Base {
		own := options[o.Name]
		if !slices.Equal(o.Args, own.Args) || o.Arch != "arm64" {
			t.Errorf("%s: arguments %q for %s, want %q", o.Name, o.Args, o.Arch, own.Args)
		}
		for name, value := range own.Environment {
			if o.Environment[name] != value {
				t.Errorf("%s: %s=%q, want %q", o.Name, name, o.Environment[name], value)
			}
		}
		if len(o.Environment) != len(own.Environment) {
			t.Errorf("%s: environment %q, want %q", o.Name, o.Environment, own.Environment)
		}
		if o.Base == nil {
			break
		}
	}
	names, _ := options["top"].allElements()
	if !slices.Equal(names, []string{"os", "mid", "top"}) {
		t.Errorf("elements %q", names)
	}
}

// TestBaseSecrets: what is said of a build shows no secret, what is asked for by
// --dry-run does.
func TestBaseSecrets(t *testing.T) {
	for _, e := range imagesFrom(t, basedList) {
		if text := e.shellText(map[string]string{"API_TOKEN": "hush"}, true); strings.Contains(text, "hush") {
			t.Errorf("shown: %s", text)
		}
		if text := e.shellText(nil, false); !strings.Contains(text, "hush") {
			t.Errorf("not shown: %s", text)
		}
	}
}

func TestBaseMistakes(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"x", "LITHIFY_BASE: "},
		{`{"arguments": ["a"], "more": 1}`, `unknown field "more"`},
		{`{"arguments": ["-t", "rwa", "a"]}`, `the image to start from: -t: `},
		{`{"arguments": ["-a", "arm64", "a"]}`, `-a amd64: the image to start from, "image", is for arm64`},
		{`{"arguments": []}`, `the image to start from: no element given`},
	} {
		_, err := parseOptions(imageCommand, []string{"-a", "amd64", "el"}, []string{"LITHIFY_BASE=" + c.text})
		if err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, errUsage) {
			t.Errorf("%s: %v, want %s", c.text, err, c.want)
		}
	}
}
