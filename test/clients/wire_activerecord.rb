# What ActiveRecord makes of a table that it finds by itself.  Called with host, port, user and the table's name.
require 'active_record'
require 'bigdecimal'

ActiveSupport::Deprecation.silenced = true if ActiveSupport::Deprecation.respond_to?(:silenced=)
host, port, user, table = ARGV
ActiveRecord::Base.establish_connection(adapter: 'postgresql', host: host, port: port, username: user, database: 'postgres')

class Row < ActiveRecord::Base
  self.table_name = ARGV[3]
end

def step(name)
  Row.transaction do
    puts "#{name}: #{yield.inspect}"
    raise ActiveRecord::Rollback
  end
end

row = Row.find(1)
Row.columns.each do |column|
  puts [column.name, column.sql_type, column.type.inspect, column.limit.inspect, column.precision.inspect, column.scale.inspect, column.null,
        row[column.name].class, row[column.name].inspect].join(' ')
end
puts "active: #{row.active ? 'set' : 'not set'}"
{ name: 'Ada', code: 'c1', n4: 20, n8: 5..30_000_000_000, pay: 100..1000, active: false, born: Date.new(1980)..Date.new(1981),
  tz: Time.utc(2020)..Time.utc(2021), u: '00000000-0000-0000-0000-000000000002', raw: "\x00\x02".b }.each do |name, value|
  step("where #{name}") { Row.where(name => value).ids }
end
step('in') { Row.where(n4: [20, 30]).order(:n4).ids }
step('aggregates') { [Row.sum(:pay), Row.maximum(:n4), Row.average(:n8), Row.group(:active).count.sort_by(&:to_s)] }
step('save') { row.update!(name: 'changed', doc: { b: [nil] }) && Row.find(1).attributes }
step('toggle') { row.reload.toggle!(:active) && Row.find(1).active }
step('create') do
  Row.create!(id: 9, name: 'n', n4: 1, active: false, born: Date.new(2000), doc: { a: 1 }, raw: "\x00\x01".b, pay: BigDecimal('1.125'))
  Row.find(9).attributes
end
