package exposition

import (
	"fmt"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// wireTypes is what check needs of a message type: its fields by number.
type wireTypes []wireField

type wireField struct {
	name     protoreflect.FullName // empty if there is no such field
	wireType protowire.Type
	isPacked bool      // may also be packed
	message  wireTypes // of a field that is a message
}

var (
	familyWireTypes = wireTypesOf((*dto.MetricFamily)(nil).ProtoReflect().Descriptor())
	metricWireTypes = wireTypesOf((*dto.Metric)(nil).ProtoReflect().Descriptor())
)

// wireTypesOf returns the wire types of a message type that does not contain itself.
func wireTypesOf(message protoreflect.MessageDescriptor) (fields wireTypes) {
	for i := range message.Fields().Len() {
		d := message.Fields().Get(i)
		f := wireField{name: d.FullName(), wireType: wireTypeOf(d.Kind())}
		if d.Message() != nil {
			f.message = wireTypesOf(d.Message())
		}
		f.isPacked = d.IsList() && f.wireType != protowire.BytesType
		for int(d.Number()) >= len(fields) {
			fields = append(fields, wireField{})
		}
		fields[d.Number()] = f
	}
	return fields
}

// wireTypeOf returns the wire type of the kinds of fields that a MetricFamily has.
func wireTypeOf(kind protoreflect.Kind) protowire.Type {
	switch kind {
	case protoreflect.DoubleKind:
		return protowire.Fixed64Type
	case protoreflect.StringKind, protoreflect.MessageKind:
		return protowire.BytesType
	default: // integers and enums
		return protowire.VarintType
	}
}

// check rejects fields that have a wrong wire type, as Prometheus's decoder does; the decoder
// used here treats them as unknown fields. It also rejects more than maxLabels messages in the
// message, which would take many times their size when decoded.
func (w wireTypes) check(message []byte) error {
	inner := 0
	return w.checkAll(message, &inner)
}

// checkAll is check, and adds the number of messages in the message to inner.
func (w wireTypes) checkAll(message []byte, inner *int) error {
	for len(message) > 0 {
		number, typ, n := protowire.ConsumeField(message)
		if n < 0 {
			return fmt.Errorf("not a protobuf message: %w", protowire.ParseError(n))
		}
		field := message[:n]
		message = message[n:]
		if int(number) >= len(w) || w[number].name == "" {
			continue
		}
		f := &w[number]
		if typ != f.wireType && (!f.isPacked || typ != protowire.BytesType) {
			return fmt.Errorf("field %s has the wrong wire type", f.name)
		}
		if f.message == nil {
			continue
		}
		if *inner++; *inner > maxLabels {
			return errLabels
		}
		_, _, tag := protowire.ConsumeTag(field)
		value, _ := protowire.ConsumeBytes(field[tag:])
		if err := f.message.checkAll(value, inner); err != nil {
			return err
		}
	}
	return nil
}
