--[[
struct: C structures as strings, with the formats of the struct library bundled with Redis:

    > < big or little endian     ! [n] alignment (a power of 2)     x one byte of padding
    b B  h H  l L  T  i[n] I[n]  integers of 1, 2, 8, 8 (size_t), 4 or n bytes; capitals unsigned
    f d  float, double           s  text up to a zero byte          c[n] n bytes (c0: see below)

Sizes are those of a 64-bit machine. When unpacking, c0 takes its length from the value before it;
when packing, it takes the whole string.
--]]
local pack_float, unpack_float, host_bit, number_argument = ...

local error, floor, select, tonumber, tostring, type, unpack =
    error, math.floor, select, tonumber, tostring, type, unpack
local byte, char, find, rep, sub, concat = string.byte, string.char, string.find, string.rep,
    string.sub, table.concat

local INT_MAX = 2147483647
local INTEGER_BYTES_MAX = 32
local ALIGN_DEFAULT = 8
local RESULTS_MAX = 7900
local SIZES = { b = 1, B = 1, h = 2, H = 2, l = 8, L = 8, T = 8, f = 4, d = 8, x = 1 }
local INTEGERS = { b = true, B = true, h = true, H = true, l = true, L = true, T = true, i = true,
    I = true }
local SIGNED = { b = true, h = true, l = true, i = true }

local function fail(text, level)
    error(text, level + 1)
end

-- A reader of formats: its place, byte order and alignment.
local function reader(text)
    return { text = text, at = 1, order = "<", align = 1 }
end

local function number_at(format, default, level)
    local _, stop = find(format.text, "^%d+", format.at)
    if not stop then
        return default
    end
    local number = tonumber(sub(format.text, format.at, stop))
    if number > INT_MAX then
        fail("integral size overflow", level + 1)
    end
    format.at = stop + 1
    return number
end

local function next_option(format, offset, level)
    -- option, its size, and the padding before it
    local option = sub(format.text, format.at, format.at)
    format.at = format.at + 1
    local size = SIZES[option] or 0
    if option == "c" then
        size = number_at(format, 1, level + 1)
    elseif option == "i" or option == "I" then
        size = number_at(format, 4, level + 1)
        if size > INTEGER_BYTES_MAX then
            fail("integral size " .. size .. " is larger than limit of " .. INTEGER_BYTES_MAX,
                level + 1)
        end
    end
    local padding = 0
    if size > 0 and option ~= "c" then
        local align = size < format.align and size or format.align
        -- For sizes that are no powers of two this is odd, as it is there.
        padding = host_bit(1, align - host_bit(1, offset, align - 1), align - 1)
    end
    return option, size, padding
end

local function control(format, option, name, level)
    if option == " " then
        return
    elseif option == ">" or option == "<" then
        format.order = option
    elseif option == "!" then
        local align = number_at(format, ALIGN_DEFAULT, level + 1)
        local power = align
        while power > 1 and power % 2 == 0 do
            power = power / 2
        end
        if power ~= 1 then
            fail("alignment " .. align .. " is not a power of 2", level + 1)
        end
        format.align = align
    else
        fail("bad argument #1 to '" .. name .. "' (invalid format option '" .. option .. "')",
            level + 1)
    end
end

local function format_argument(text, name, present)
    if type(text) == "number" then
        return tostring(text)
    elseif type(text) ~= "string" then
        local got = present and type(text) or "no value"
        fail("bad argument #1 to '" .. name .. "' (string expected, got " .. got .. ")", 2)
    end
    return text
end

local function integer_bytes(value, size, order)
    -- the low 64 bits in two's complement; above them zeros, as shifting out of 64 bits leaves
    value = value < 0 and -floor(-value) or floor(value)
    local high = floor(value / 4294967296) % 4294967296
    local low = value % 4294967296
    local out = {}
    for i = 1, size do
        if i == 5 then
            low = high
        elseif i == 9 then
            low = 0
        end
        out[order == "<" and i or size + 1 - i] = char(low % 256)
        low = floor(low / 256)
    end
    return concat(out)
end

local function integer_value(data, at, size, order, signed)
    local value = 0
    local width = size < 8 and size or 8
    for i = width, 1, -1 do
        value = value * 256 + byte(data, order == "<" and at + i - 1 or at + size - i)
    end
    if width == 8 and value >= 2 ^ 53 then
        -- beyond the exact doubles: rebuild from halves
        local low, high = 0, 0
        for i = 4, 1, -1 do
            low = low * 256 + byte(data, order == "<" and at + i - 1 or at + size - i)
            high = high * 256 + byte(data, order == "<" and at + i + 3 or at + size - i - 4)
        end
        if signed and high >= 2147483648 then
            high = high - 4294967296
        end
        return high * 4294967296 + low
    end
    if signed and value >= 256 ^ width / 2 then
        value = value - 256 ^ width
    end
    return value
end

local lib = {}

local function text_argument(value, index, size, option)
    local text = value
    if type(text) == "number" then
        text = tostring(text)
    elseif type(text) ~= "string" then
        local got = value == nil and "no value" or type(value)
        fail("bad argument #" .. index .. " to 'pack' (string expected, got " .. got .. ")", 2)
    end
    if size == 0 then
        size = #text
    end
    if #text < size then
        fail("bad argument #" .. index + 1 .. " to 'pack' (string too short)", 2)
    end
    return sub(text, 1, size) .. (option == "s" and "\0" or "")
end

function lib.pack(...)
    local format = reader(format_argument((...), "pack", select("#", ...) > 0))
    local out, total, index = {}, 0, 2
    while format.at <= #format.text do
        local option, size, padding = next_option(format, total, 1)
        local piece = ""
        if INTEGERS[option] then
            local value = number_argument((select(index, ...)), index, "pack", true)
            piece = integer_bytes(value, size, format.order)
            index = index + 1
        elseif option == "x" then
            piece = "\0"
        elseif option == "f" or option == "d" then
            local value = number_argument((select(index, ...)), index, "pack", true)
            piece = pack_float(value, size, format.order)
            index = index + 1
        elseif option == "c" or option == "s" then
            piece = text_argument((select(index, ...)), index, size, option)
            index = index + 1
        else
            control(format, option, "pack", 1)
        end
        out[#out + 1] = rep("\0", padding) .. piece
        total = total + padding + #piece
    end
    return concat(out)
end

local function short(data, at, size)
    if at + size - 1 > #data then
        fail("bad argument #2 to 'unpack' (data string too short)", 2)
    end
end

local function take_text(data, at, size, option, values, count)
    -- the string for c or s; its end, and how many values there are before it
    if option == "s" then
        local stop = find(data, "\0", at, true)
        if not stop then
            fail("unfinished string in data", 2)
        end
        return sub(data, at, stop - 1), stop + 1, count
    end
    if size == 0 then
        size = count > 0 and tonumber(values[count])
        if not size then
            fail("format 'c0' needs a previous size", 2)
        end
        count = count - 1
        size = floor(size)
        if size < 0 then
            size = #data
        end
        short(data, at, size)
    end
    return sub(data, at, at + size - 1), at + size, count
end

function lib.unpack(...)
    local given = select("#", ...)
    local text, data, start = ...
    local format = reader(format_argument(text, "unpack", given > 0))
    if type(data) == "number" then
        data = tostring(data)
    elseif type(data) ~= "string" then
        local got = given > 1 and type(data) or "no value"
        error("bad argument #2 to 'unpack' (string expected, got " .. got .. ")", 2)
    end
    local at = start == nil and 1 or floor(number_argument(start, 3, "unpack", true))
    if at == 0 then
        error("bad argument #3 to 'unpack' (offset must be 1 or greater)", 2)
    elseif at < 0 then
        error("bad argument #2 to 'unpack' (data string too short)", 2)
    end
    local values, count = {}, 0
    while format.at <= #format.text do
        local option, size, padding = next_option(format, at - 1, 1)
        at = at + padding
        short(data, at, size)
        if count >= RESULTS_MAX then
            error("stack overflow (too many results)", 2)
        end
        if INTEGERS[option] then
            count = count + 1
            values[count] = integer_value(data, at, size, format.order, SIGNED[option])
            at = at + size
        elseif option == "x" then
            at = at + 1
        elseif option == "f" or option == "d" then
            count = count + 1
            values[count] = unpack_float(sub(data, at, at + size - 1), format.order)
            at = at + size
        elseif option == "c" or option == "s" then
            local piece
            piece, at, count = take_text(data, at, size, option, values, count)
            count = count + 1
            values[count] = piece
        else
            control(format, option, "unpack", 1)
        end
    end
    values[count + 1] = at
    return unpack(values, 1, count + 1)
end

function lib.size(...)
    local format = reader(format_argument((...), "size", select("#", ...) > 0))
    local total = 0
    while format.at <= #format.text do
        local option, size, padding = next_option(format, total, 1)
        total = total + padding
        if option == "s" then
            error("bad argument #1 to 'size' (option 's' has no fixed size)", 2)
        elseif option == "c" and size == 0 then
            error("bad argument #1 to 'size' (option 'c0' has no fixed size)", 2)
        end
        if option == "<" or option == ">" or option == "!" then
            control(format, option, "size", 1)
        end
        total = total + size
    end
    return total
end

return lib
