package main

import (
	"fmt"
	"math"
	"slices"
)

// Spread describes how a value varies across slices.
type Spread struct {
	Median float64 `json:"median"`
	// Low and High are the first and third quartiles.
	Low  float64 `json:"first_quartile"`
	High float64 `json:"third_quartile"`
	Min  float64 `json:"min"`
	Max  float64 `json:"max"`
}

func (s Spread) String() string {
	return fmt.Sprintf("%.3f [%.3f, %.3f]", s.Median, s.Low, s.High)
}

func spread(values []float64) Spread {
	return Spread{
		Median: median(values), Low: quantile(values, 0.25), High: quantile(values, 0.75), Min: slices.Min(values),
		Max: slices.Max(values),
	}
}

func median(values []float64) float64 { return quantile(values, 0.5) }

// quantile returns the q-quantile of values, interpolating between the two nearest values. It
// returns NaN if there are no values.
func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := q * float64(len(sorted)-1)
	below := int(at)
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (at-float64(below))*(sorted[above]-sorted[below])
}
