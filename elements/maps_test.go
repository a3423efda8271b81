package elements

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
)

const packageMapText = `{
  "default": {"a": "default-a", "none": "", "many": "x y z", "b": "default-b", "c": "default-c", "d": "default-d"},
  "family": {"redhat": {"a": "redhat-a", "b": "redhat-b"}, "debian": {"a": "debian-family-a"}},
  "distro": {"fedora": {"a": "fedora-a", "c": "fedora-c"}, "rhel": {"a": "rhel-a"}},
  "release": {"fedora": {"33": {"a": "fedora33-a"}}, "centos": {"8": {"a": "eight", "b": "eight"}, "9": {"a": "nine", "b": "nine"}, "9-stream": {"a": "nine-stream"}}}
}`

func TestPackageMap(t *testing.T) {
	m, err := ParsePackageMap([]byte(packageMapText))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ distro, release, name, want string }{
		{"fedora", "33", "a", "fedora33-a"}, {"fedora", "33", "c", "fedora-c"}, {"fedora", "33", "b", "redhat-b"}, {"fedora", "33", "d", "default-d"},
		{"fedora", "32", "a", "fedora-a"}, {"rocky", "9", "a", "redhat-a"}, {"openeuler", "", "b", "redhat-b"}, {"almalinux", "", "a", "redhat-a"},
		{"ubuntu", "jammy", "a", "debian-family-a"}, {"debian", "bookworm", "b", "default-b"}, {"opensuse", "15", "a", "default-a"}, {"", "", "a", "default-a"},
		{"centos", "8-stream", "a", "eight"}, {"centos", "9-stream", "a", "nine-stream"}, {"centos", "9-stream", "b", "nine"}, {"centos", "7", "a", "redhat-a"},
		{"fedora", "33", "none", ""}, {"fedora", "33", "many", "x y z"}, {"fedora", "33", "unknown", "!"},
	} {
		got, ok := m.Lookup(c.distro, c.release, c.name)
		if !ok {
			got = "!"
		}
		if got != c.want {
			t.Errorf("%s %s %s: got %q, want %q", c.distro, c.release, c.name, got, c.want)
		}
	}
	if _, ok := (PackageMap{}).Lookup("debian", "bookworm", "a"); ok {
		t.Error("an empty map has a name")
	}
}

func TestPackageMapErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                                        "line 1: unexpected EOF",
		"[]":                                      "found a list; want a mapping of sections",
		"{\n\"familly\": {}}":                     `section "familly": line 2: unknown; allowed: default, family, distro, release; did you mean 'family'?`,
		`{"default": []}`:                         `section "default": line 1: found a list; want a mapping`,
		"{\"default\": {\n\"a\": 1}}":             `section "default": "a": line 2: found "1"; want a text`,
		`{"family": {"a": "b"}}`:                  `section "family": "a": line 1: found "b"; want a mapping`,
		`{"release": {"debian": {"12": "b"}}}`:    `"debian": "12": line 1: found "b"; want a mapping`,
		"{\"default\": {}} x":                     "line 1: ",
		"{\"default\": {\n}":                      "line 2: unexpected EOF",
		"{\n\n'default': {}}":                     "line 3: invalid character",
		`{"default": {"a": "b", "a": "c"}}`:       `"a" is there already on line 1`,
		`{"default": ` + strings.Repeat("[", 100): "nested too deeply",
	} {
		if _, err := ParsePackageMap([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q:\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestPackageMaps(t *testing.T) {
	good := element(t, "good", map[string]string{"pkg-map": packageMapText})
	none := element(t, "none", map[string]string{"install.d/x": ""})
	bad := element(t, "bad", map[string]string{"pkg-map": "x"})
	got, err := PackageMaps([]Element{good, none})
	if err != nil || len(got) != 1 || string(got["good"]) != packageMapText {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := PackageMaps([]Element{good, bad}); err == nil || !strings.HasPrefix(err.Error(), "element 'bad', pkg-map: line 1: ") {
		t.Errorf("got %v", err)
	}
}

// FuzzPackageMap: a mistake names a line; what is accepted is what the standard
// library reads, name by name, in all four sections.
func FuzzPackageMap(f *testing.F) {
	f.Add([]byte(packageMapText))
	f.Add([]byte(`{"default": {"a": 1}}`))
	f.Add([]byte(`{"release": {"centos": {"8": {"a": ""}}}, "distro": {"centos": {"b": "\ud800"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParsePackageMap(data)
		checkPosition(t, data, err)
		if err != nil {
			return
		}
		var want struct {
			Default        map[string]string
			Family, Distro map[string]map[string]string
			Release        map[string]map[string]map[string]string
		}
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatalf("accepted: %q: %v", data, err)
		}
		for name := range want.Default {
			if _, ok := m.Lookup("", "", name); !ok {
				t.Errorf("%q: no default for %q", data, name)
			}
		}
		for distro, releases := range want.Release {
			for release, names := range releases {
				for name, text := range names {
					if got, ok := m.Lookup(distro, release, name); !ok || got != text {
						t.Errorf("%q: %s %s: %q is %q, want %q", data, distro, release, name, got, text)
					}
				}
			}
		}
		for distro, names := range want.Distro {
			for name, text := range names {
				if got, ok := m.Lookup(distro, "no such release", name); !ok || got != text {
					t.Errorf("%q: %s: %q is %q, want %q", data, distro, name, got, text)
				}
			}
		}
		for name, text := range want.Family["debian"] {
			if _, own := want.Distro["ubuntu"][name]; !own && len(want.Release) == 0 {
				if got, ok := m.Lookup("ubuntu", "", name); !ok || got != text {
					t.Errorf("%q: %q is %q, want %q", data, name, got, text)
				}
			}
		}
	})
}

func TestServiceMap(t *testing.T) {
	one := element(t, "one", map[string]string{"svc-map": "neutron:\n  debian: neutron-deb\n  redhat: neutron-rh\n  default: neutron\nssh:\n  redhat: sshd\n"})
	two := element(t, "two", map[string]string{"svc-map": "web: {debian: apache2, ubuntu: apache2-ubuntu, default: httpd}\n"})
	m, err := MergeServiceMaps([]Element{one, two, element(t, "none", nil), element(t, "empty", map[string]string{"svc-map": "# none\n"})})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ distro, name, want string }{
		{"ubuntu", "web", "apache2-ubuntu"}, {"debian", "web", "apache2"}, {"gentoo", "web", "httpd"}, {"", "web", "httpd"},
		{"rocky", "neutron", "neutron-rh"}, {"ubuntu", "neutron", "neutron-deb"}, {"debian", "ssh", "ssh"}, {"almalinux", "ssh", "sshd"}, {"debian", "other", "other"},
	} {
		if got := m.Lookup(c.distro, c.name); got != c.want {
			t.Errorf("%s %s: got %s, want %s", c.distro, c.name, got, c.want)
		}
	}
	want := map[string]string{"neutron": "neutron-deb", "ssh": "ssh", "web": "apache2"}
	if got := m.Resolve("debian"); !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	for text, want := range map[string]string{
		"\nweb: {default: x}": "element 'bad', svc-map: line 2: the service \"web\" is defined by element 'two' already",
		"x: y":                `"x": line 1: found "y"; want a mapping`,
		"x: {default: [a]}":   `"x": "default": line 1: found a list; want a text`,
		"x: {":                "element 'bad', svc-map: line 1: ",
		"- x":                 "found a list; want a mapping",
	} {
		_, err := MergeServiceMaps([]Element{one, two, element(t, "bad", map[string]string{"svc-map": text})})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestDistroFamily(t *testing.T) {
	for distro, want := range map[string]string{"rocky": "redhat", "ubuntu": "debian", "opensuse": "suse", "gentoo": "gentoo", "plan9": "", "": ""} {
		if got := DistroFamily(distro); got != want {
			t.Errorf("%q: got %q", distro, got)
		}
	}
}
