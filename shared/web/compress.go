package web

import (
	"compress/gzip"
	"io"
	"net/http"
	"sync"

	"github.com/klauspost/compress/gzhttp"
	"github.com/klauspost/compress/gzhttp/writer"
	"github.com/klauspost/compress/gzhttp/writer/gzstd"
	"github.com/klauspost/compress/zstd"
)

// compressFrom is the size of answers, in bytes, from which they are compressed for callers who ask for it.
const compressFrom = 1 << 10

// compress holds back no more than that, so that streams stay streams. Who takes both codings, as browsers do, gets zstd.
//
// What is large here is base64 of ciphertext: nothing in it comes twice, and a quarter of its bits say nothing. Many
// compressors look for repetitions only and store such text as it is; these two find the quarter in bodies of every size, and
// the repetitions around small ones. BenchmarkCompression has the figures. While an answer is being written a compressor
// takes 1.2 MB for gzip, 0.8 for zstd; there are never more than answers at a time.
var compress = func() func(http.Handler) http.HandlerFunc {
	wrap, err := gzhttp.NewWrapper(
		gzhttp.MinSize(compressFrom),
		gzhttp.Implementation(writer.GzipWriterFactory{Levels: gzstd.Levels, New: gzstd.NewWriter}),
		gzhttp.CompressionLevel(gzip.BestSpeed),
		gzhttp.ZstdImplementation(writer.ZstdWriterFactory{
			Levels: func() (least, most int) { return int(zstd.SpeedFastest), int(zstd.SpeedFastest) },
			New:    newZstd,
		}),
	)
	if err != nil {
		panic(err) // its options are constant
	}
	return wrap
}()

var zstdEncoders = sync.Pool{New: func() any {
	encoder, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithAllLitEntropyCompression(true), // base64 has literals only
		zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(128<<10),
	)
	if err != nil {
		panic(err) // its options are constant
	}
	return encoder
}}

// pooledZstd is an encoder that goes back to the pool when it is closed.
type pooledZstd struct{ *zstd.Encoder }

func newZstd(w io.Writer, _ int) writer.ZstdWriter {
	encoder, _ := zstdEncoders.Get().(*zstd.Encoder)
	encoder.Reset(w)
	return pooledZstd{encoder}
}

func (p pooledZstd) Close() error {
	err := p.Encoder.Close()
	p.Reset(nil) // it keeps the answer's writer otherwise
	zstdEncoders.Put(p.Encoder)
	return err
}
