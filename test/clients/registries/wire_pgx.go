// What Go's pgx makes of a table.  Called with host, port, user and the table's name.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
)

type row struct {
	ID     int
	Name   string
	N8     int64
	F4     float32
	Active bool
	Born   time.Time
	Doc    map[string]interface{}
	Raw    []byte
}

func main() {
	ctx, table := context.Background(), os.Args[4]
	db, err := pgx.Connect(ctx, fmt.Sprintf("host=%s port=%s user=%s dbname=postgres sslmode=disable", os.Args[1], os.Args[2], os.Args[3]))
	if err != nil {
		panic(err)
	}
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		rows, err := db.Query(ctx, "SELECT * FROM "+table+" ORDER BY id", mode)
		if err != nil {
			panic(err)
		}
		for rows.Next() {
			values, err := rows.Values()
			for i, v := range values {
				f := rows.FieldDescriptions()[i]
				fmt.Printf("%v %s %d %d %T %v\n", mode, f.Name, f.DataTypeOID, f.TypeModifier, v, v)
			}
			fmt.Println(err)
		}
		for _, v := range []struct {
			name  string
			value interface{}
		}{{"name", "Eve"}, {"code", "c"}, {"n2", int16(3)}, {"n4", int32(4)}, {"n8", int64(1) << 40}, {"f8", 2.5}, {"active", true},
			{"born", time.Date(2000, 2, 29, 0, 0, 0, 0, time.UTC)}, {"tz", time.Unix(0, 0).UTC()}, {"raw", []byte{0, 1, 255}}, {"doc", map[string]interface{}{"b": []int{1}}}} {
			tx, err := db.Begin(ctx)
			if err != nil {
				panic(err)
			}
			var back interface{}
			err = tx.QueryRow(ctx, "UPDATE "+table+" SET "+v.name+" = $1 WHERE id = 1 RETURNING "+v.name, mode, v.value).Scan(&back)
			fmt.Printf("%v set %s %T %v %v\n", mode, v.name, back, back, err)
			var n int
			err = tx.QueryRow(ctx, "SELECT count(*) FROM "+table+" WHERE "+v.name+" = $1", mode, v.value).Scan(&n)
			fmt.Println(mode, "where", v.name, n, err)
			tx.Rollback(ctx)
		}
	}
	rows, _ := db.Query(ctx, "SELECT id, name, n8, f4, active, born, doc, raw FROM "+table+" WHERE id = 1")
	collected, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	fmt.Printf("struct %v %v\n", collected, err)
	tx, _ := db.Begin(ctx)
	n, err := tx.CopyFrom(ctx, pgx.Identifier{table}, []string{"id", "name"}, pgx.CopyFromRows([][]interface{}{{11, "eleven"}}))
	fmt.Println("copy", n, err)
	tx.Rollback(ctx)
}
