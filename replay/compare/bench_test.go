package compare_test

import (
	"context"
	"testing"

	"kagami"
	"kagami/replay/compare"
)

// BenchmarkCompare writes and compares exchanges of the generator's; bytes are
// those of both answers.
func BenchmarkCompare(b *testing.B) {
	rules := []string{"$..updated_at", "$..etag", "$.served_at", "$.users.*.seen", "$.trace", "header:X-Node"}
	for name, cfg := range map[string]compare.Config{"rules": {Ignore: rules}, "baseline": {Baseline: true}} {
		b.Run(name, func(b *testing.B) { benchmark(b, cfg, false) })
	}
	b.Run("identical", func(b *testing.B) { benchmark(b, compare.Config{}, true) })
}

func benchmark(b *testing.B, cfg compare.Config, identical bool) {
	c, err := compare.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	g := newGenerator(1, 0.01, cfg.Baseline)
	made := make([]generated, 512)
	var size int64
	for i := range made {
		made[i] = g.next()
		if identical {
			made[i].staging.Raw = made[i].production.Raw
		}
		size += int64(len(made[i].production.Raw) + len(made[i].staging.Raw))
	}
	b.SetBytes(size / int64(len(made)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		x := made[i%len(made)]
		if cfg.Baseline {
			_ = c.Baseline().Write(context.Background(), kagami.Batch{Messages: []*kagami.Message{x.baseline}})
		}
		_ = c.Write(context.Background(), kagami.Batch{Messages: []*kagami.Message{x.request, x.production, x.staging}})
	}
}
