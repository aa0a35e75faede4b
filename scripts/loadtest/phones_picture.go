package main

import (
	"bytes"
	"image/color"
	"math"
	"os"
	"slices"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

const (
	pictureWidth = 24 * vg.Centimeter
	// pictureHeight is that of each of the two drawings.
	pictureHeight = 12 * vg.Centimeter
	// slot is the time that a point of a line over time is of.
	slot = time.Second
	// leastMillis is the bottom of the scale of milliseconds, which is logarithmic.
	leastMillis = 0.3
)

// percentiles are those that are drawn, each in its color.
var percentiles = []struct {
	name  string
	of    func(latencies) float64
	color color.Color
}{
	{"p50", func(l latencies) float64 { return l.P50 }, color.RGBA{0x1f, 0x77, 0xb4, 0xff}},
	{"p95", func(l latencies) float64 { return l.P95 }, color.RGBA{0xff, 0x7f, 0x0e, 0xff}},
	{"p99", func(l latencies) float64 { return l.P99 }, color.RGBA{0xd6, 0x27, 0x28, 0xff}},
}

// draw makes a picture of how long answers took: by route in the hold, and of all of them over the time of the run.
func (p *phones) draw(path string) error {
	routes, err := p.drawRoutes()
	if err != nil {
		return err
	}
	times, err := p.drawTimes()
	if err != nil {
		return err
	}
	canvas := vgsvg.New(pictureWidth, 2*pictureHeight)
	whole := draw.New(canvas)
	plots := [][]*plot.Plot{{routes}, {times}}
	for i, row := range plot.Align(plots, draw.Tiles{
		Rows: 2, Cols: 1, PadY: vg.Centimeter, PadTop: vg.Centimeter / 2, PadRight: vg.Centimeter, PadBottom: vg.Centimeter / 2,
	}, whole) {
		plots[i][0].Draw(row[0])
	}
	var text bytes.Buffer
	if _, err := canvas.WriteTo(&text); err != nil {
		return err
	}
	return os.WriteFile(path, text.Bytes(), 0o600)
}

// newPlot is an empty plot with its legend at the top.
func newPlot(title string) *plot.Plot {
	p := plot.New()
	p.Title.Text = title
	p.Legend.Top = true
	return p
}

// scale makes the axis a logarithmic one of milliseconds, up to the most.
func scale(axis *plot.Axis, most float64) {
	axis.Label.Text = "ms"
	axis.Scale, axis.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	axis.Min, axis.Max = leastMillis, math.Pow(10, math.Ceil(math.Log10(max(most, 10*leastMillis))))
}

// drawRoutes puts the percentiles of each route side by side.
func (p *phones) drawRoutes() (*plot.Plot, error) {
	s := p.report.stage(stageHold)
	if s == nil {
		s = &stageReport{Stage: stageRamp}
		if first := p.report.stage(stageRamp); first != nil {
			s = first
		}
	}
	drawn := newPlot("How long answers took, by route (" + s.Stage + ")")
	names, most := make([]string, len(s.Routes)), 0.0
	for _, percentile := range percentiles {
		points := make(plotter.XYs, len(s.Routes))
		for i, r := range s.Routes {
			at := len(s.Routes) - 1 - i // the first one on top
			ms := max(percentile.of(r.Answered), leastMillis)
			points[i], names[at], most = plotter.XY{X: ms, Y: float64(at)}, r.Route, max(most, ms)
		}
		scatter, err := plotter.NewScatter(points)
		if err != nil {
			return nil, err
		}
		scatter.GlyphStyle = draw.GlyphStyle{Color: percentile.color, Radius: vg.Points(3.5), Shape: draw.CircleGlyph{}}
		drawn.Add(scatter)
		drawn.Legend.Add(percentile.name, scatter)
	}
	drawn.NominalY(names...)
	drawn.Y.Tick.Label.Font.Size = font.Length(8)
	scale(&drawn.X, most)
	drawn.Add(plotter.NewGrid())
	return drawn, nil
}

// drawTimes draws the percentiles of all answers for each second of the run, and where its stages begin.
func (p *phones) drawTimes() (*plot.Plot, error) {
	drawn := newPlot("How long answers took, over the time of the run")
	drawn.X.Label.Text = "s"
	var took [][]time.Duration
	for _, s := range p.seen.samples {
		if s.kind != fine || s.began < 0 || len(p.seen.stages) == 0 || s.began < p.seen.stages[0].began {
			continue
		}
		n := int((s.began - p.seen.stages[0].began) / slot)
		for len(took) <= n {
			took = append(took, nil)
		}
		took[n] = append(took[n], s.took)
	}
	most := 0.0
	for _, percentile := range percentiles {
		var points plotter.XYs
		for n, all := range took {
			if len(all) > 0 {
				ms := max(percentile.of(latenciesOf(slices.Clone(all))), leastMillis)
				points, most = append(points, plotter.XY{X: float64(n) * slot.Seconds(), Y: ms}), max(most, ms)
			}
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			continue // there is nothing to draw
		}
		line.Color = percentile.color
		drawn.Add(line)
		drawn.Legend.Add(percentile.name, line)
	}
	scale(&drawn.Y, most)
	for _, s := range p.seen.stages {
		x := (s.began - p.seen.stages[0].began).Seconds()
		labels, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: x, Y: drawn.Y.Max}}, Labels: []string{" " + s.name}})
		if err != nil {
			return nil, err
		}
		line, err := plotter.NewLine(plotter.XYs{{X: x, Y: drawn.Y.Min}, {X: x, Y: drawn.Y.Max}})
		if err != nil {
			return nil, err
		}
		line.Color, line.Dashes = color.Gray{0x80}, []vg.Length{vg.Points(3), vg.Points(3)}
		labels.Offset.Y = -vg.Points(10)
		drawn.Add(line, labels)
	}
	drawn.Add(plotter.NewGrid())
	return drawn, nil
}
