package convert

import (
	"fmt"
)

// encoderCost is what one encoder keeps in memory, in bytes, rounded up.
const encoderCost = 2 << 20

// compressor appends p, compressed, to dst.
type compressor interface {
	compress(dst, p []byte) ([]byte, error)
}

// newClusterWork is a worker's part of a qcow2 image: it finds the clusters
// with data and, when asked, compresses them.
func newClusterWork(cluster int, o Options) work {
	if !o.Compress {
		return func(j *job) error { return plainClusters(j, cluster) }
	}
	var c compressor // made with the first job, in the worker
	return func(j *job) error {
		if c == nil {
			c = newCompressor(cluster, o.Format.Compression)
		}
		return compressClusters(j, cluster, c)
	}
}

func plainClusters(j *job, cluster int) error {
	j.parts = j.parts[:0]
	for i := 0; i < len(j.in); i += cluster {
		if !isZero(j.in[i : i+cluster]) {
			j.parts = append(j.parts, part{index: i / cluster, from: i, to: i + cluster})
		}
	}
	return nil
}

func compressClusters(j *job, cluster int, c compressor) error {
	if err := plainClusters(j, cluster); err != nil {
		return err
	}
	j.out = j.out[:0]
	for i := range j.parts {
		p := &j.parts[i]
		from := len(j.out)
		out, err := c.compress(j.out, j.in[p.from:p.to])
		if err != nil {
			return fmt.Errorf("compressing the disk at byte %d: %w", j.off+int64(p.from), err)
		}
		if j.out = out; len(out)-from < cluster {
			p.from, p.to, p.compressed = from, len(out), true
		} else {
			j.out = out[:from]
		}
	}
	return nil
}

func newCompressor(cluster int, kind Compression) compressor {
	if kind == Zlib {
		return new(deflater)
	}
	return newZstdFrames(cluster)
}
