package token

import "testing"

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := testPolicy.Prefixes.Parse(vector); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeToken(b *testing.B) {
	record := EncodeToken(fullToken())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeToken(testID, record); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRedact(b *testing.B) {
	text := "/api/unikernel/console?unikernel=hello_world&token=" + vector
	b.ReportAllocs()
	for b.Loop() {
		testPolicy.Prefixes.Redact(text)
	}
}
