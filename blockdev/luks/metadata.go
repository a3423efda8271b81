package luks

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// slots2 is how many key slots cryptsetup allows for LUKS2.
const slots2 = 32

// metadata is the JSON part of a header of LUKS2: LUKS2 specification, 3. Numbers
// of 64 bits are text there.
type metadata struct {
	Keyslots map[string]keyslot  `json:"keyslots"`
	Tokens   map[string]struct{} `json:"tokens"`
	Segments map[string]segment  `json:"segments"`
	Digests  map[string]digest2  `json:"digests"`
	Config   config              `json:"config"`
}

type keyslot struct {
	Type     string   `json:"type"`
	Priority *int     `json:"priority,omitempty"` // 0: never tried, 1, 2: first
	KeySize  int      `json:"key_size"`
	AF       splitter `json:"af"`
	Area     area     `json:"area"`
	KDF      kdf      `json:"kdf"`
}

type splitter struct {
	Type    string `json:"type"`
	Stripes int    `json:"stripes"`
	Hash    string `json:"hash"`
}

type area struct {
	Type       string `json:"type"`
	Offset     int64  `json:"offset,string"`
	Size       int64  `json:"size,string"`
	Encryption string `json:"encryption"`
	KeySize    int    `json:"key_size"`
}

type kdf struct {
	Type       string `json:"type"`
	Hash       string `json:"hash,omitempty"`
	Iterations int    `json:"iterations,omitempty"`
	Time       int    `json:"time,omitempty"`
	Memory     int    `json:"memory,omitempty"`
	CPUs       int    `json:"cpus,omitempty"`
	Salt       []byte `json:"salt"`
}

type segment struct {
	Type       string          `json:"type"`
	Offset     int64           `json:"offset,string"`
	Size       string          `json:"size"`
	Tweak      uint64          `json:"iv_tweak,string"`
	Encryption string          `json:"encryption"`
	SectorSize int             `json:"sector_size"`
	Integrity  json.RawMessage `json:"integrity,omitempty"`
}

type digest2 struct {
	Type       string   `json:"type"`
	Keyslots   []string `json:"keyslots"`
	Segments   []string `json:"segments"`
	Hash       string   `json:"hash"`
	Iterations int      `json:"iterations"`
	Salt       []byte   `json:"salt"`
	Digest     []byte   `json:"digest"`
}

type config struct {
	JSONSize     int64           `json:"json_size,string"`
	KeyslotsSize int64           `json:"keyslots_size,string"`
	Requirements json.RawMessage `json:"requirements,omitempty"`
}

// dynamic is the size of a segment that reaches to the end of the device.
const dynamic = "dynamic"

// describe makes the metadata of a new volume, and says how many bytes each of its
// headers has: the 16 KiB of cryptsetup, or as many as many slots need.
func describe(o Options, secrets source, key secret, n int) (metadata, int, error) {
	m := metadata{
		Keyslots: map[string]keyslot{},
		Tokens:   map[string]struct{}{},
		Segments: map[string]segment{"0": {Type: "crypt", Offset: overheadV2, Size: dynamic, Encryption: o.Cipher, SectorSize: o.SectorSize}},
	}
	d := digest2{Type: PBKDF2, Segments: []string{"0"}, Hash: o.Hash, Iterations: digestIterations,
		Salt: take(secrets, "salt of digest", 32)}
	sum, err := derivePBKDF2(key, d.Salt, d.Hash, d.Iterations, hashes[d.Hash].size)
	if err != nil {
		return m, 0, err
	}
	d.Digest = sum
	for i := range n {
		d.Keyslots = append(d.Keyslots, strconv.Itoa(i))
	}
	m.Digests = map[string]digest2{"0": d}
	for room := int64(leastRoom); ; room *= 2 {
		m.Config = config{JSONSize: room - binaryRoom, KeyslotsSize: overheadV2 - 2*room}
		for i := range n {
			m.Keyslots[strconv.Itoa(i)] = describeSlot(o, secrets, i, 2*room)
		}
		text, err := json.Marshal(m)
		if err != nil {
			return m, 0, fmt.Errorf("encoding LUKS2 metadata: %w", err)
		}
		if int64(len(text)) < m.Config.JSONSize {
			return m, int(room), nil
		}
	}
}

// describeSlot makes the metadata of slot i, the first of which lies at an offset.
func describeSlot(o Options, secrets source, i int, first int64) keyslot {
	p, size := o.PBKDF, align(int64(o.KeySize/8*stripes), slotAlignment)
	k := kdf{Type: p.Kind, Salt: take(secrets, fmt.Sprint("salt of slot ", i), 32)}
	if p.Kind == PBKDF2 {
		k.Hash, k.Iterations = o.Hash, p.Iterations
	} else {
		k.Time, k.Memory, k.CPUs = p.Iterations, p.Memory, p.Threads
	}
	return keyslot{
		Type:    "luks2",
		KeySize: o.KeySize / 8,
		AF:      splitter{"luks1", stripes, o.Hash},
		Area:    area{"raw", first + int64(i)*size, size, o.Cipher, o.KeySize / 8},
		KDF:     k,
	}
}

// used gives the slots in the order of their numbers.
func (m metadata) used() []slot {
	slots := make([]slot, len(m.Keyslots))
	for i := range slots {
		slots[i] = m.Keyslots[strconv.Itoa(i)].slot()
	}
	return slots
}

// slot gives k in the form that both versions share.
func (k keyslot) slot() slot {
	d := derivation{PBKDF{k.KDF.Type, k.KDF.Time, k.KDF.Memory, k.KDF.CPUs}, k.KDF.Hash, k.KDF.Salt}
	if d.Kind == PBKDF2 {
		d.PBKDF = PBKDF{Kind: PBKDF2, Iterations: k.KDF.Iterations}
	}
	return slot{derivation: d, splitter: k.AF.Hash, offset: k.Area.Offset, keySize: k.KeySize, wrapSize: k.Area.KeySize}
}

// plan checks what a header of room bytes says of a device of size bytes.
func (m metadata) plan(room, size int64) (plan, error) {
	if m.Config.JSONSize != room-binaryRoom {
		return plan{}, fmt.Errorf("json_size %d in a header of %d bytes", m.Config.JSONSize, room)
	}
	if err := m.Config.check(); err != nil {
		return plan{}, err
	}
	if len(m.Segments) != 1 || len(m.Keyslots) > slots2 {
		return plan{}, fmt.Errorf("%d segments and %d key slots: known here are one segment and up to %d slots", len(m.Segments), len(m.Keyslots), slots2)
	}
	var p plan
	for name, s := range m.Segments {
		var err error
		if p.extent, err = s.extent(2*room, size); err != nil {
			return plan{}, fmt.Errorf("segment %q: %w", name, err)
		}
		d, err := m.digestOf(name)
		if err != nil {
			return plan{}, err
		}
		p.digest = digest{d.Hash, d.Iterations, d.Salt, d.Digest}
		if p.slots, err = m.slotsOf(d, 2*room, p.extent.offset); err != nil {
			return plan{}, err
		}
	}
	return p, nil
}

// check refuses volumes with requirements, such as one that is being reencrypted.
func (c config) check() error {
	var r struct {
		Mandatory []string `json:"mandatory"`
	}
	if len(c.Requirements) == 0 {
		return nil
	}
	if err := json.Unmarshal(c.Requirements, &r); err != nil {
		return fmt.Errorf("decoding requirements: %w", err)
	}
	if len(r.Mandatory) > 0 {
		return fmt.Errorf("requirements %q are not known here", r.Mandatory)
	}
	return nil
}

// extent says where the payload is, which lies behind the headers.
func (s segment) extent(headers, size int64) (extent, error) {
	e := extent{offset: s.Offset, sector: s.SectorSize, tweak: s.Tweak}
	if s.Type != "crypt" || s.Encryption != aesXTS || s.Integrity != nil {
		return e, fmt.Errorf("type %q, cipher %q, with integrity %t: known here is \"crypt\" with %q", s.Type, s.Encryption, s.Integrity != nil, aesXTS)
	}
	if !slices.Contains([]int{512, 1024, 2048, 4096}, s.SectorSize) {
		return e, fmt.Errorf("sectors of %d bytes: known are 512, 1024, 2048 and 4096", s.SectorSize)
	}
	if s.Offset < headers || s.Offset%sector != 0 || s.Offset >= size {
		return e, fmt.Errorf("payload at byte %d of %d", s.Offset, size)
	}
	e.size = size - s.Offset
	if s.Size != dynamic {
		n, err := strconv.ParseInt(s.Size, 10, 64)
		if err != nil || n <= 0 || n > e.size {
			return e, fmt.Errorf("size %q of at most %d bytes", s.Size, e.size)
		}
		e.size = n
	}
	if e.size%int64(s.SectorSize) != 0 {
		return e, fmt.Errorf("%d bytes: no multiple of its sectors of %d bytes", e.size, s.SectorSize)
	}
	return e, nil
}

// digestOf finds the digest of a segment's key.
func (m metadata) digestOf(segment string) (digest2, error) {
	for _, id := range slices.Sorted(maps.Keys(m.Digests)) {
		d := m.Digests[id]
		if !slices.Contains(d.Segments, segment) {
			continue
		}
		// 20 bytes, whatever the hash, is what a volume converted from LUKS1 has.
		if d.Type != PBKDF2 || len(d.Digest) < 20 || len(d.Digest) > 64 {
			return d, fmt.Errorf("digest %q: %q with %q of %d bytes is not known here", id, d.Type, d.Hash, len(d.Digest))
		}
		return d, nil
	}
	return digest2{}, fmt.Errorf("segment %q has no digest", segment)
}

// slotsOf gives the slots that hold the key of a digest, those of high priority
// first. They lie behind the headers and before the payload.
func (m metadata) slotsOf(d digest2, headers, payload int64) ([]slot, error) {
	type ranked struct{ rank, id int }
	var order []ranked
	slots := map[int]slot{}
	for name, k := range m.Keyslots {
		id, err := strconv.Atoi(name)
		if err != nil {
			return nil, fmt.Errorf("key slot %q is no number", name)
		}
		rank := 1
		if k.Priority != nil {
			rank = *k.Priority
		}
		if rank == 0 || !slices.Contains(d.Keyslots, name) {
			continue
		}
		if err := k.check(headers, payload); err != nil {
			return nil, fmt.Errorf("key slot %q: %w", name, err)
		}
		order, slots[id] = append(order, ranked{rank, id}), k.slot()
	}
	slices.SortFunc(order, func(a, b ranked) int { return cmp.Or(b.rank-a.rank, a.id-b.id) })
	tried := make([]slot, len(order))
	for i, o := range order {
		tried[i] = slots[o.id]
	}
	return tried, nil
}

// check is whether a slot is of a kind that is known here and lies in its place.
func (k keyslot) check(headers, payload int64) error {
	if k.Type != "luks2" || k.AF.Type != "luks1" || k.AF.Stripes != stripes || k.Area.Type != "raw" || k.Area.Encryption != aesXTS {
		return fmt.Errorf("type %q, splitter %q of %d, area %q, cipher %q are not known here", k.Type, k.AF.Type, k.AF.Stripes, k.Area.Type, k.Area.Encryption)
	}
	for _, size := range []int{k.KeySize, k.Area.KeySize} {
		if size != 32 && size != 64 {
			return fmt.Errorf("key of %d bytes: known here are 32 and 64", size)
		}
	}
	a := k.Area
	if a.Offset < headers || a.Size < int64(k.KeySize)*stripes || a.Size > payload || a.Offset > payload-a.Size {
		return fmt.Errorf("%d bytes at byte %d, payload at byte %d", a.Size, a.Offset, payload)
	}
	return nil
}
