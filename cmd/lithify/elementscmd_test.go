package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

func TestElementsCommand(t *testing.T) {
	dir := put(t, map[string]string{
		"web/README.rst":             "===\nweb\n===\n\nServes\npages. And more.\n\nEnvironment Variables\n---------------------\n\nDIB_WEB_PORT\n  :Default: 80\n  :Description: the\n  port\n\n* ``DIB_WEB_NAME``\n  what it\n  is called\n",
		"web/element-deps":           "nginx # the server\nbase\n",
		"web/element-provides":       "http\n",
		"web/install.d/10-b":         "#!/bin/sh\n",
		"web/install.d/9-a":          "#!/bin/sh\n",
		"web/extra-data.d/10-c":      "#!/bin/sh\n",
		"web/static/etc/motd":        "hi\n",
		"nginx/README.md":            "# nginx\n\n| a |\n\nA server.\n\n| Variable | Default | Meaning |\n|---|---|---|\n| `DIB_NGINX` | `stable` | which `one` |\n",
		"nginx/element-deps":         "service\n",
		"nginx/install.d/10-n":       "#!/bin/sh\necho ${DIB_N:-x}\n",
		"base/install.d/10-x":        "#!/bin/sh\necho ${DIB_DEBUG_TRACE:-0} ${DIB_BASE_X:-y z} ${DIB_BASE_X:-other} ${DIB_AAA:=1}\n",
		"service-a/element-provides": "service\n",
		"service-b/element-provides": "service\n",
		"broken/element-deps":        "web\nngnix\n",
		"loop/element-deps":          "loop2\n",
		"loop2/element-deps":         "loop\nweb\nservice-a",
	})
	for _, c := range []struct {
		words, stdout, stderr string
		code                  int
	}{
		{"show web", "web\n\nServes pages. And more.\n\nWhere: DIR/web\nNeeds: nginx, base\nProvides: http\nHooks:\n" +
			"  extra-data (on this machine): 10-c\n  install (inside the image): 9-a, 10-b\nFiles: static/etc/motd\n" +
			"Variables:\n  DIB_WEB_PORT  80  the port\n  DIB_WEB_NAME      what it is called\n", "", 0},
		{"show nginx", "nginx\n\nA server.\n\nWhere: DIR/nginx\nNeeds: service\nHooks:\n  install (inside the image): 10-n\nVariables:\n  DIB_NGINX  stable  which one\n", "", 0},
		{"show base", "base\n\nWhere: DIR/base\nHides: (built in)/base\nHooks:\n  install (inside the image): 10-x\nVariables:\n  DIB_AAA     1\n  DIB_BASE_X  y z\n", "", 0},
		{"show weeb", "", "Element 'weeb' not found; did you mean 'web'?", exitUsage},
		{"show http", "", "Element 'http' not found; provided by web: name one of them", exitUsage},
		{"show", "", "name one element", exitUsage},
		{"show web nginx", "", "name one element", exitUsage},
		{"deps web service-b", "web\n├── nginx\n│   └── service: service-b provides it\n└── base\nservice-b\n", "", 0},
		{"deps web", "web\n├── nginx\n│   └── service: name one of service-a, service-b\n└── base\n", "", 0},
		{"deps loop", "loop\n└── loop2\n    ├── loop (see above)\n    ├── web\n    │   ├── nginx\n    │   │   └── service: service-a provides it\n    │   └── base\n    └── service-a\n", "", 0},
		{"deps broken service-a", "broken\n├── web\n│   ├── nginx\n│   │   └── service: service-a provides it\n│   └── base\n└── ngnix: not found\nservice-a\n",
			"broken → ngnix: Element 'ngnix' not found; did you mean 'nginx'?", exitUsage},
		{"deps service-a service-b", "", "service: already provided by ['service-a']", exitUsage},
		{"deps", "", "name at least one element", exitUsage},
		{"lst", "", "unknown command", exitUsage},
	} {
		var out, complaint bytes.Buffer
		args := append([]string{"elements"}, strings.Fields(c.words)...)
		code := lithifyMain(context.Background(), args, []string{"ELEMENTS_PATH=" + dir}, nil, &out, &complaint)
		if got := strings.ReplaceAll(out.String(), dir, "DIR"); code != c.code || got != c.stdout || !strings.Contains(complaint.String(), c.stderr) {
			t.Errorf("elements %s: code %d, stdout\n%s\nstderr %s\nwant %d,\n%s", c.words, code, got, &complaint, c.code, c.stdout)
		}
	}
}

func TestElementsList(t *testing.T) {
	dir := put(t, map[string]string{"vm/README.rst": "vm\n==\n\nMine. All mine.\n", "zzz/element-deps": ""})
	var out, complaint bytes.Buffer
	code := lithifyMain(context.Background(), []string{"elements", "list"}, []string{"ELEMENTS_PATH=" + dir}, nil, &out, &complaint)
	words := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{"NAME WHERE WHAT ", "vm " + dir + "/vm Mine ", "debian-minimal built in ", "zzz " + dir + "/zzz"} {
		if code != 0 || !strings.Contains(words, want) {
			t.Errorf("code %d, %s\n%s\nwant %q in it", code, &out, &complaint, want)
		}
	}
	code = lithifyMain(context.Background(), []string{"elements", "list"}, []string{"ELEMENTS_PATH=" + dir + "/none"}, nil, &out, &complaint)
	if code != exitUsage || !strings.Contains(complaint.String(), "is not a directory") {
		t.Errorf("code %d, %s", code, &complaint)
	}
}

func FuzzReadme(f *testing.F) {
	f.Add("# a\n\nb\nc\n\n| `X_Y` | 1 | 2 |\n")
	f.Add("=\n=\n``A_B``\n  c\n")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(firstParagraph(text), "\n") {
			t.Error("a paragraph is one line")
		}
		readmeVariables(text)
	})
}
