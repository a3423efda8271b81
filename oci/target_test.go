package oci

import (
	"strings"
	"testing"
)

func TestParseTarget(t *testing.T) {
	for target, want := range map[string]string{
		"web":                              "local localhost/web:latest",
		"web:1":                            "local localhost/web:1",
		"team/web":                         "local localhost/team/web:latest",
		"containers-storage:web":           "local localhost/web:latest",
		"containers-storage:quay.io/a/b:c": "local quay.io/a/b:c",
		"containers-storage:[overlay@/a+/b]web:2": "local [overlay@/a+/b]localhost/web:2",
		"quay.io/a/b":                   "quay.io/a/b:latest",
		"docker://quay.io/a/b:1.2":      "quay.io/a/b:1.2",
		"localhost/web":                 "localhost/web:latest",
		"host:5000/web:x":               "host:5000/web:x",
		"[::1]:5000/web":                "[::1]:5000/web:latest",
		"docker.io/me/web":              "docker.io/me/web:latest",
		"oci:5000/web":                  "oci:5000/web:latest",
		"oci/web":                       "local localhost/oci/web:latest",
		"oci:/a/b":                      "oci /a/b ",
		"oci:b:1":                       "oci b 1",
		"oci-archive:b.tar:web:1":       "oci-archive b.tar web:1",
		"docker-archive:b.tar":          "docker-archive b.tar ",
		"docker-archive:b.tar:team/web": "docker-archive b.tar team/web:latest",
		"docker-archive:/b:h.x:50/w:1":  "docker-archive /b h.x:50/w:1",
		"docker-archive:5000/web":       "docker-archive:5000/web:latest",
	} {
		got, err := ParseTarget(target)
		text := got.store + got.name
		if got.archive != "" {
			text = got.archive + " " + got.path + " " + got.name
		}
		if got.Local() {
			text = "local " + text
		}
		if err != nil || text != want {
			t.Errorf("ParseTarget(%q) = %q, %v, want %q", target, text, err, want)
		}
	}
}

func TestParseTargetMistakes(t *testing.T) {
	for target, want := range map[string]string{
		"":                            "allowed are",
		"not a target":                "allowed are",
		"Web":                         `"web"`,
		"quay.io/Team/web":            `"quay.io/team/web"`,
		"docker://web":                "docker.io",
		"docker://team/web":           "docker.io",
		"docker-daemon:web":           "docker-daemon: is not served; allowed are HOST/REPOSITORY",
		"oci:":                        "no file is named; allowed is oci:FILE[:NAME]",
		"oci:dir:":                    "a name is missing",
		"oci-archive:a.tar:b@c":       `"b@c" is no name`,
		"docker-archive:/a/b.tar:Web": `"web"`,
		"docker-archive:/a/b.tar:a b": "allowed are",
		"quay.io/a/b@sha256:" + strings.Repeat("0", 64): "tag",
		"containers-storage:":                           "allowed are",
		"containers-storage:[overlay@/a":                "tag",
	} {
		if got, err := ParseTarget(target); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseTarget(%q) = %+v, %v, want an error with %q", target, got, err, want)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"web", "a/b:c", "docker://h.x/y", "containers-storage:[a@/b]c", "oci:5000/x", "@", "[", "localhost/:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseTarget(s)
		if err != nil {
			return
		}
		again, err := ParseTarget(storagePrefix + got.Name())
		if err != nil || again.Name() != got.Name() {
			t.Errorf("%q gives %q, that gives %q, %v", s, got.Name(), again.Name(), err)
		}
	})
}
