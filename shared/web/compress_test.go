package web_test

import (
	"bytes"
	stdgzip "compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/web"
)

// feedOf is an answer with events whose payloads are that long as base64, some 600 KB in all.
func feedOf(length int) string {
	random := rand.NewChaCha8([32]byte{1})
	payload, iv := make([]byte, length*3/4), make([]byte, 16)
	var events []string
	for i := range 600 << 10 / length {
		_, _ = random.Read(payload)
		_, _ = random.Read(iv)
		id := uuid.Must(uuid.NewRandomFromReader(random))
		events = append(events, fmt.Sprintf(
			`{"userId":"0e000000-0000-4000-8000-%012d","eventId":%q,"timestamp":"2025-02-03T04:%02d:06.%06d+00:00","encryptedEventPayload":%q,`+
				`"encryptedEventIV":%q,"expiry":"2025-05-04T04:%02d:06.789+00:00"}`,
			i/10, id, i%60, i*7919%1000000, base64.StdEncoding.EncodeToString(payload), base64.StdEncoding.EncodeToString(iv), i%60))
	}
	return `{"events":[` + strings.Join(events, ",") + `],"invalidFollowSecrets":[]}`
}

// feedLengths are those that occur: a small event, an ordinary one, one of twenty exercises with notes, and one of sixty.
var feedLengths = []int{512, 2 << 10, 8 << 10, 60 << 10}

func unpack(t *testing.T, coding, packed string) string {
	t.Helper()
	var text io.Reader
	var err error
	switch coding {
	case "gzip":
		text, err = stdgzip.NewReader(strings.NewReader(packed))
	case "zstd":
		text, err = zstd.NewReader(strings.NewReader(packed), zstd.WithDecoderMaxWindow(128<<10))
	default:
		return packed
	}
	require.NoError(t, err)
	all, err := io.ReadAll(text)
	require.NoError(t, err)
	return string(all)
}

func TestCiphertextIsCompressed(t *testing.T) {
	t.Parallel()
	var mounts []web.Mount
	for _, length := range feedLengths {
		feed := feedOf(length)
		mounts = append(mounts, web.Mount{
			Route: web.Route{Method: http.MethodGet, Path: fmt.Sprintf("/feed/%d", length), Timeout: time.Minute},
			Endpoint: web.Stream[struct{}, string](func(_ context.Context, _ struct{}, out *jsontext.Encoder) error {
				return out.WriteValue(jsontext.Value(feed))
			}),
		})
	}
	service := web.Service{Log: slog.New(slog.DiscardHandler)}
	server := httptest.NewServer(service.Handler(mounts))
	t.Cleanup(server.Close)
	var all sync.WaitGroup // at once, as compressors are taken from a pool
	for _, length := range feedLengths {
		for accepted, coding := range map[string]string{
			"": "", "identity": "", "gzip": "gzip", "zstd": "zstd", "gzip, deflate": "gzip", "gzip, deflate, br, zstd": "zstd", "zstd;q=0.5, gzip": "gzip",
		} {
			all.Go(func() {
				feed := feedOf(length)
				got := send(t, server, "GET", fmt.Sprintf("/feed/%d", length), "", "Accept-Encoding", accepted)
				assert.NoError(t, got.err)
				assert.Equal(t, coding, got.header.Get("Content-Encoding"), accepted)
				assert.Equal(t, "Accept-Encoding", got.header.Get("Vary"))
				assert.Equal(t, feed, strings.TrimSpace(unpack(t, coding, got.body)), accepted)
				if coding != "" {
					assert.Less(t, len(got.body), len(feed)*77/100, "%s of %d bytes", coding, length)
				}
			})
		}
	}
	all.Wait()
}

// BenchmarkCompression compares compressors on feeds of the lengths that occur. Share of the plain length, and speed as a
// multiple of gzip's with Huffman codes alone:
//
//	                            512 B        2 KB         8 KB         60 KB
//	gzip, Huffman codes alone   75 %         76 %         76 %         75 %
//	gzip, klauspost's default   59 %  0.2    70 %  0.3    95 %  1      97 %  3
//	gzip, klauspost's level 7   59 %  0.2    70 %  0.2    74 %  0.1    75 %  0.1
//	gzip, Go's level 1 *        60 %  0.2    74 %  0.5    76 %  0.4    75 %  0.6
//	zstd, fastest               58 %  0.4    74 %  0.7   100 %  6     100 %  12
//	zstd, fastest, literals *   58 %  0.4    72 %  0.7    76 %  0.8    75 %  1.1
//	zstd, default, literals     58 %  0.2    69 %  0.2    74 %  0.5    75 %  1.1
//
// Those with a star are in use: of the gzips, level 1 is the fastest that never leaves base64 as it is and still finds what
// repeats around small events.
func BenchmarkCompression(b *testing.B) {
	type compressor interface {
		io.WriteCloser
		Reset(io.Writer)
	}
	level := func(level int) compressor {
		w, err := gzip.NewWriterLevel(nil, level)
		require.NoError(b, err)
		return w
	}
	fast, err := stdgzip.NewWriterLevel(nil, stdgzip.BestSpeed)
	require.NoError(b, err)
	zstandard := func(level zstd.EncoderLevel, literals bool) compressor {
		w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithAllLitEntropyCompression(literals),
			zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(128<<10))
		require.NoError(b, err)
		return w
	}
	const chunk = 32 << 10 // as streams write them
	for _, length := range feedLengths {
		feed := []byte(feedOf(length))
		for _, c := range []struct {
			name string
			compressor
		}{
			{"gzip, Huffman", level(gzip.HuffmanOnly)}, {"gzip, default", level(gzip.DefaultCompression)}, {"gzip, 7", level(7)}, {"gzip, Go's 1", fast},
			{"zstd, fastest", zstandard(zstd.SpeedFastest, false)}, {"zstd, fastest, literals", zstandard(zstd.SpeedFastest, true)},
			{"zstd, default, literals", zstandard(zstd.SpeedDefault, true)},
		} {
			b.Run(fmt.Sprintf("%d/%s", length, c.name), func(b *testing.B) {
				var packed bytes.Buffer
				b.SetBytes(int64(len(feed)))
				for b.Loop() {
					packed.Reset()
					c.Reset(&packed)
					for rest := feed; len(rest) > 0; rest = rest[min(chunk, len(rest)):] {
						_, err := c.Write(rest[:min(chunk, len(rest))])
						require.NoError(b, err)
					}
					require.NoError(b, c.Close())
				}
				b.ReportMetric(100*float64(packed.Len())/float64(len(feed)), "%")
			})
		}
	}
}
