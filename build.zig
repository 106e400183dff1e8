//! Steps: `tools/zig build STEP`, options before the step, `-- ARGS` after it
//!
//! | step          | does                                                                                    |
//! |---------------|-----------------------------------------------------------------------------------------|
//! | install       | (default) libleat.so, libleat.a, leat.h, leat.pc, leatd, leat, leat-dump, man pages into --prefix |
//! | run           | runs the leat command line tool with ARGS                                               |
//! | demo          | a pipeline of orders to watch: tools/demo/main.c; ARGS: [--seconds N] [--rate N]         |
//! |               | [--quick] [--sink sqlite|postgres] [--keep DIR] [--postgres CONNECTION]                 |
//! | test          | every test: unit, proc, fault and install; ARGS: [FILTER]... [--seed N]                 |
//! | test:unit     | one module at a time, states placed by hand                                             |
//! | test:proc     | real processes on a real bus                                                            |
//! | test:fault    | kills and stops at named points, in a build that has the kill points                    |
//! | test:model    | the ring's and the groups' own C files under every interleaving, kill and stop:         |
//! |               | tests/model; ARGS: [CONFIGURATION] [--kind ring|group]                                  |
//! |               | [--seconds OF-ALL | --each SECONDS | --states N] [--first]                              |
//! |               | [--replay CONFIGURATION:SCHEDULE [--trace]]                                             |
//! | test:mutants  | applies each edit of tests/model/mutants.txt to a copy; model or unit tests must notice;   |
//! |               | wants gcc; ARGS: [--sample N] [--seed S] [--jobs N] [--states N] [NAME]..., --keep NAME  |
//! | test:step     | single-steps the compiled client and tries at every instruction what can happen there:    |
//! |               | tests/model/step; wants gcc, or skips its builds; ARGS: [--sample] [--self]             |
//! |               | [--build gcc-O2] [--path NAME] [--at N] [--mutant NAME] [--uncovered]                   |
//! | test:install  | programs compiled against what `install` lays down                                      |
//! | test:replay   | loses power after every operation of random workloads on the log; ARGS: [--seed N] [--images N]   |
//! |               | [--seconds N] [--jobs N] [--image K]                                                    |
//! | test:long     | `test` with the long tests, the others' loops worth more time, and before it all of     |
//! |               | test:step, test:model and test:mutants                                                  |
//! | test:ubsan    | test:unit under UndefinedBehaviorSanitizer                                              |
//! | test:tsan     | test:unit under ThreadSanitizer                                                         |
//! | test:asan     | test:unit under AddressSanitizer and LeakSanitizer; wants gcc, Zig ships no ASan runtime |
//! | bench         | runs the benches with ARGS, for example `-- latency --json`                             |
//! | check         | format, floors, static checks, gcc as second compiler: .ci/check                        |
//! | fmt           | formats all C and Zig                                                                   |
//! | ci            | all that must pass before a change lands: .ci/run                                       |
//!
//! Options
//!
//! | option            | default       | means                                                               |
//! |-------------------|---------------|---------------------------------------------------------------------|
//! | --prefix DIR      | zig-out       | where `install` goes; leat.pc names it                              |
//! | -Doptimize=MODE   | see right     | ReleaseFast for install and run, Debug for tests, unless given;     |
//! |                   |               | demo and bench are ReleaseFast whatever is given                    |
//! | -Dtarget=TRIPLE   | this machine  | with the baseline CPU of its kind (and cmpxchg16b), so that what is |
//! | -Dcpu=CPU         | baseline      | built here runs elsewhere                                           |
//!
//! A source is any .c file in its directory, in sorted order: adding a file is adding it, and no list here can
//! go stale. What is in the directories' place in the build is said once, in `core`, `tool` and `tests`.

const std = @import("std");
const builtin = @import("builtin");
const Compile = std.Build.Step.Compile;
const LazyPath = std.Build.LazyPath;
const Run = std.Build.Step.Run;

const zig_version = "0.15.2"; // tools/zig and build.zig.zon say the same
const version: std.SemanticVersion = .{ .major = 0, .minor = 1, .patch = 0 }; // the soname is libleat.so.0

comptime {
    if (!std.mem.eql(u8, builtin.zig_version_string, zig_version))
        @compileError("leat is built with Zig " ++ zig_version ++ ", and this is Zig " ++
            builtin.zig_version_string ++ ". `tools/zig build` fetches and runs the right one.");
}

/// The one place for C flags. gcc gets the same, see .ci/check and .ci/gcc.
const c_flags = [_][]const u8{
    "-std=gnu11",
    "-D_GNU_SOURCE",
    "-fvisibility=hidden", // leat.h makes its own functions visible
    "-fno-strict-aliasing", // regions are bytes that several struct types look at
    "-fno-omit-frame-pointer", // perf sees whole stacks, for one register
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wshadow",
    "-Wundef",
    "-Wvla",
    "-Wformat=2",
    "-Wpointer-arith",
    "-Wwrite-strings",
    "-Wstrict-prototypes",
    "-Wmissing-prototypes",
    "-Wold-style-definition",
};

/// The floors, bottom up; leatd without its main, so that a library can host a bus and tests can call it.
const core_dirs = [_][]const u8{ "src/base", "src/shm", "src/store", "src/group", "src/client", "src/leatd" };

/// What leat-dump takes of leat's own files.
const dump_needs = [_][]const u8{"tools/leat/json.c"};

/// How one build of the core and all that is linked with it differs from another.
const Variant = struct {
    optimize: std.builtin.OptimizeMode,
    kill_points: bool = false, // LT_KILL_POINTS: a process can be told to die at a named atomic edge
    ubsan: bool = false,
    tsan: bool = false,
};

/// What is built once for each variant, and linked into all that follows.
const Kit = struct {
    b: *std.Build,
    target: std.Build.ResolvedTarget,
    variant: Variant,
    core: *Compile = undefined,
    leatd: *Compile = undefined,
    leat: *Compile = undefined,
    dump: *Compile = undefined,

    fn of(b: *std.Build, target: std.Build.ResolvedTarget, variant: Variant) Kit {
        var kit: Kit = .{ .b = b, .target = target, .variant = variant };
        kit.core = core(kit, .static);
        kit.leatd = program(kit, "leatd", &.{"src/leatd/main.c"});
        kit.leat = program(kit, "leat", sources(b, "tools/leat", .all));
        linkStatic(kit.leat, "jansson"); // reads JSON
        kit.dump = program(kit, "leat-dump", sources(b, "tools/leat-dump", .all));
        addC(kit.dump.root_module, &dump_needs);
        return kit;
    }
};

pub fn build(b: *std.Build) void {
    const target = chooseTarget(b);
    const optimize = b.option(std.builtin.OptimizeMode, "optimize", "ReleaseFast for install, Debug for tests, unless given");
    const release: Kit = .of(b, target, .{ .optimize = optimize orelse .ReleaseFast });
    const fast: Kit = .of(b, target, .{ .optimize = .ReleaseFast });
    const debug: Kit = .of(b, target, .{ .optimize = optimize orelse .Debug });
    const fault: Kit = .of(b, target, .{ .optimize = optimize orelse .Debug, .kill_points = true });
    const ubsan: Kit = .of(b, target, .{ .optimize = optimize orelse .Debug, .ubsan = true });
    const tsan: Kit = .of(b, target, .{ .optimize = optimize orelse .ReleaseSafe, .tsan = true });

    installAll(release);
    step(b, "run", "Run leat -- ARGS", runBeside(release, release.leat));
    step(b, "demo", "Run the demo -- ARGS", runBeside(fast, demo(fast)));
    step(b, "bench", "Run the benches -- ARGS", tool(fast, "leat-bench", "bench"));

    const all = [_]Kind{ .unit, .proc, .fault, .install };
    const unit = [_]Kind{.unit};
    testStep("test", "Run every test -- [FILTER]... [--seed N]", debug, fault, &all);
    testStep("test:unit", "Run tests/unit", debug, fault, &unit);
    testStep("test:proc", "Run tests/proc", debug, fault, &.{.proc});
    testStep("test:fault", "Run tests/fault", debug, fault, &.{.fault});
    step(b, "test:model", "Explore the ring's interleavings", model(debug, b.args));
    step(b, "test:mutants", "Apply single wrong edits; each must be noticed", mutants(debug, b.args));
    step(b, "test:step", "Try every instruction of the compiled paths", stepper(fast, b.args));
    step(b, "test:replay", "Lose power everywhere; recover", replay(fast, b.args));
    testStep("test:install", "Run tests/install", debug, fault, &.{.install});
    testStep("test:long", "Run every test, the long ones too", debug, fault, &all);
    before(b, "test:long", stepper(fast, null));
    before(b, "test:long", model(debug, null));
    before(b, "test:long", mutants(debug, null));
    testStep("test:ubsan", "Run tests/unit under UBSan", ubsan, fault, &unit);
    testStep("test:tsan", "Run tests/unit under TSan", tsan, fault, &unit);
    step(b, "test:asan", "Run tests/unit under ASan (with gcc)", asan(debug));

    step(b, "check", "Format, floors, static checks, gcc", script(b, ".ci/check"));
    step(b, "fmt", "Format all C and Zig", script(b, ".ci/fmt"));
    step(b, "ci", "All that must pass before a change lands", script(b, ".ci/run"));
}

/// By default this machine's kind, but Zig's own glibc headers and stubs rather than the machine's, so that a bare
/// machine and one with a compiler build the same thing.
fn chooseTarget(b: *std.Build) std.Build.ResolvedTarget {
    var query = b.standardTargetOptionsQueryOnly(.{
        .default_target = .{
            .cpu_model = .baseline,
            .abi = .gnu,
            .glibc_version = .{ .major = 2, .minor = 36, .patch = 0 }, // Debian 12's
        },
    });
    // The claim's 16-byte CAS, inline. Every x86-64 of the last fifteen years has it, "baseline" does not.
    if ((query.cpu_arch orelse builtin.cpu.arch) == .x86_64)
        query.cpu_features_add.addFeature(@intFromEnum(std.Target.x86.Feature.cx16));
    return b.resolveTargetQuery(query);
}

// ---------------------------------------------------------------------------------------------------------
// Artefacts.

/// A module of C files with all that they have in common. Files are added by `addC`.
fn cModule(kit: Kit) *std.Build.Module {
    const module = kit.b.createModule(.{
        .target = kit.target,
        .optimize = kit.variant.optimize,
        .link_libc = true,
        .pic = true, // libleat.a may end in somebody's shared library
        .omit_frame_pointer = false,
        .sanitize_thread = kit.variant.tsan,
        // Said aloud because Zig's own default puts UBSan into every Debug build, and traps into ReleaseSafe.
        .sanitize_c = if (kit.variant.ubsan) .full else .off,
    });
    module.addIncludePath(kit.b.path("src"));
    module.addIncludePath(kit.b.path("include"));
    // For xxhash.h and liburing.h, and last: libc and kernel headers are Zig's.
    if (kit.target.query.cpu_arch == null) module.addAfterIncludePath(.{ .cwd_relative = "/usr/include" });
    if (kit.variant.kill_points) module.addCMacro("LT_KILL_POINTS", "1");
    return module;
}

fn addC(module: *std.Build.Module, files: []const []const u8) void {
    module.addCSourceFiles(.{ .files = files, .flags = &c_flags });
}

/// Every floor below the programs, as one library: it is libleat, and what leatd and the tests are linked with.
fn core(kit: Kit, linkage: std.builtin.LinkMode) *Compile {
    const module = cModule(kit);
    for (core_dirs) |dir| addC(module, sources(kit.b, dir, .all_but_main));
    const library = kit.b.addLibrary(.{
        .name = "leat",
        .root_module = module,
        .linkage = linkage,
        .version = if (linkage == .dynamic) version else null,
        .use_llvm = true,
        .use_lld = true,
    });
    if (linkage == .dynamic) {
        library.setVersionScript(kit.b.path("src/leat.map"));
        linkStatic(library, "uring");
    }
    return library;
}

/// A program of the given files and the core.
fn program(kit: Kit, name: []const u8, files: []const []const u8) *Compile {
    const module = cModule(kit);
    addC(module, files);
    module.linkLibrary(kit.core);
    const exe = kit.b.addExecutable(.{ .name = name, .root_module = module, .use_llvm = true, .use_lld = true });
    linkStatic(exe, "uring"); // src/store/io_uring.c; taken only by who uses it
    return exe;
}

/// A library of Debian's, into the program, which runs where its .so is not. It is not to be found by -l: the machine's
/// directory of libraries has a libc, too, and that is Zig's here.
fn linkStatic(exe: *Compile, name: []const u8) void {
    const b = exe.step.owner;
    const triple = b.fmt("{s}-linux-gnu", .{@tagName(builtin.cpu.arch)});
    for ([_][]const u8{ b.fmt("/usr/lib/{s}", .{triple}), "/usr/lib", "/usr/lib64", "/usr/local/lib" }) |dir| {
        const path = b.fmt("{s}/lib{s}.a", .{ dir, name });
        std.fs.accessAbsolute(path, .{}) catch continue;
        exe.root_module.addObjectFile(.{ .cwd_relative = path });
        return;
    }
    exe.root_module.linkSystemLibrary(name, .{}); // whoever has it elsewhere says where
}

fn demo(kit: Kit) *Compile {
    const exe = program(kit, "leat-demo", sources(kit.b, "tools/demo", .all));
    linkStatic(exe, "sqlite3");
    return exe;
}

/// A program of one file, as a user of the library writes it, in C or in C++ (without the C++ runtime, which leat.h has
/// no use for).
fn example(kit: Kit, file: []const u8) *Compile {
    const name = std.fs.path.stem(file);
    if (isC(file)) return program(kit, name, &.{file});
    const exe = program(kit, name, &.{});
    exe.root_module.addCSourceFiles(.{ .files = &.{file}, .flags = &.{ "-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror" } });
    return exe;
}

/// Runs the program of one directory.
fn tool(kit: Kit, name: []const u8, dir: []const u8) *Run {
    return runBeside(kit, program(kit, name, sources(kit.b, dir, .all)));
}

/// Runs a program that has leatd and leat beside it: programs find one another that way, as they do where they
/// are installed. One that insists on this very leatd has its path in LEAT_BENCH_LEATD.
fn runBeside(kit: Kit, exe: *Compile) *Run {
    const b = kit.b;
    const bin = together(b, &.{ kit.leatd, kit.leat, exe });
    const run = b.addSystemCommand(&.{"env"});
    run.setName(b.fmt("run {s}", .{exe.name}));
    run.addPrefixedFileArg("LEAT_BENCH_LEATD=", bin.path(b, "leatd"));
    run.addFileArg(bin.path(b, exe.name));
    addZigToPath(run); // `bench regress` builds another revision
    if (b.args) |args| run.addArgs(args);
    return run;
}

/// A directory with these programs in it.
fn together(b: *std.Build, programs: []const *Compile) LazyPath {
    const files = b.addWriteFiles();
    for (programs) |exe| _ = files.addCopyFile(exe.getEmittedBin(), exe.name);
    return files.getDirectory();
}

// ---------------------------------------------------------------------------------------------------------
// install

fn installAll(kit: Kit) void {
    const b = kit.b;
    for ([_]*Compile{ core(kit, .dynamic), kit.core, kit.leatd, kit.leat, kit.dump }) |artefact| b.installArtifact(artefact);
    b.getInstallStep().dependOn(&b.addInstallHeaderFile(b.path("include/leat.h"), "leat.h").step);
    const pc = b.addWriteFiles().add("leat.pc", pkgConfig(b));
    b.getInstallStep().dependOn(&b.addInstallLibFile(pc, "pkgconfig/leat.pc").step);
    for ([_][]const u8{ "include", "src", "src/client", "src/leatd", "tools/leat", "tools/leat-dump", "bench" }) |dir|
        installManPages(b, dir);
}

fn installManPages(b: *std.Build, dir: []const u8) void {
    for (list(b, dir, isManPage)) |path| {
        const section = path[path.len - 1 ..];
        const place = b.fmt("share/man/man{s}/{s}", .{ section, std.fs.path.basename(path) });
        b.getInstallStep().dependOn(&b.addInstallFile(b.path(path), place).step);
    }
}

fn pkgConfig(b: *std.Build) []const u8 {
    const prefix = std.fs.path.resolve(b.allocator, &.{ b.build_root.path orelse ".", b.install_prefix }) catch @panic("OOM");
    return b.fmt(
        \\prefix={s}
        \\includedir=${{prefix}}/include
        \\libdir=${{prefix}}/lib
        \\
        \\Name: leat
        \\Description: shared-memory message bus for one machine
        \\Version: {f}
        \\Cflags: -I${{includedir}}
        \\Libs: -L${{libdir}} -lleat
        \\Libs.private: -lpthread
        \\
    , .{ prefix, version });
}

// ---------------------------------------------------------------------------------------------------------
// Tests.

const Kind = enum { unit, proc, fault, install };

/// One run of tests/lib/runner.c over all programs of these kinds. It inherits our terminal, so its last line
/// is the last line of a build that ends well.
fn testStep(name: []const u8, description: []const u8, plain: Kit, fault: Kit, kinds: []const Kind) void {
    const b = plain.b;
    const run = b.addRunArtifact(runner(plain));
    run.addArg(b.fmt("--env=LEAT_TEST_AGAIN=tools/zig build {s} --", .{name}));
    if (std.mem.eql(u8, name, "test:long")) run.addArg("--env=LEAT_TEST_LONG=1");
    // What a sanitizer costs, in time limits.
    if (plain.variant.ubsan) run.addArg("--env=LEAT_TEST_SLOWDOWN=2");
    if (plain.variant.tsan) run.addArg("--env=LEAT_TEST_SLOWDOWN=10");
    if (plain.variant.tsan) run.addArg("--env=TSAN_OPTIONS=halt_on_error=1 second_deadlock_stack=1");
    if (!std.mem.eql(Kind, kinds, &.{.unit})) addSurroundings(run, plain, fault);
    for (kinds) |kind| {
        // Processes of a bus want both cores for themselves; states placed by hand do not care.
        run.addArg(if (kind == .unit) "--jobs=2" else "--jobs=1");
        for (testPrograms(if (kind == .fault) fault else plain, kind)) |exe| run.addFileArg(exe.getEmittedBin());
    }
    addTyped(run);
    step(b, name, description, run);
}

/// The runner takes what was typed after `--` behind a `--` of its own.
fn addTyped(run: *Run) void {
    run.addArg("--");
    if (run.step.owner.args) |args| run.addArgs(args);
}

/// What tests other than unit tests find in their environment.
fn addSurroundings(run: *Run, plain: Kit, fault: Kit) void {
    const b = plain.b;
    for ([_]Kit{ plain, fault }, [_][]const u8{ "", "_FAULT" }) |kit, suffix| {
        const bin = together(b, &.{ kit.leatd, kit.leat, kit.dump });
        run.addPrefixedFileArg(b.fmt("--env=LEAT_TEST_LEATD{s}=", .{suffix}), bin.path(b, "leatd"));
        run.addPrefixedFileArg(b.fmt("--env=LEAT_TEST_DUMP{s}=", .{suffix}), bin.path(b, "leat-dump"));
        run.addPrefixedFileArg(b.fmt("--env=LEAT_TEST_LEAT{s}=", .{suffix}), bin.path(b, "leat"));
        const files = list(b, "tests/programs", isCOrCpp);
        if (files.len == 0) continue;
        const programs = b.allocator.alloc(*Compile, files.len) catch @panic("OOM");
        for (files, programs) |file, *exe| exe.* = example(kit, file);
        run.addPrefixedDirectoryArg(b.fmt("--env=LEAT_TEST_PROGRAMS{s}=", .{suffix}), together(b, programs));
    }
    run.addPrefixedFileArg("--env=LEAT_TEST_DEMO=", together(b, &.{ plain.leatd, demo(plain) }).path(b, "leat-demo"));
    const bench = together(b, &.{program(plain, "leat-bench", sources(b, "bench", .all))});
    run.addPrefixedFileArg("--env=LEAT_TEST_BENCH=", bench.path(b, "leat-bench"));
    // The runner installs into a directory of its own, with the command that a user would give.
    run.addArg(b.fmt("--zig={s}", .{b.graph.zig_exe}));
    run.addArg(b.fmt("--env=LEAT_TEST_ROOT={s}", .{b.build_root.path orelse "."}));
    run.setEnvironmentVariable("ZIG_LOCAL_CACHE_DIR", b.pathFromRoot(b.cache_root.path orelse ".zig-cache"));
}

/// One program a file of tests/KIND, named after it, linked with tests/lib.
fn testPrograms(kit: Kit, kind: Kind) []const *Compile {
    const b = kit.b;
    const files = list(b, b.fmt("tests/{s}", .{@tagName(kind)}), isTest);
    const programs = b.allocator.alloc(*Compile, files.len) catch @panic("OOM");
    if (files.len == 0) return programs;
    const module = cModule(kit);
    addC(module, sources(b, "tests/lib", .all_but_main));
    const lib = b.addLibrary(.{ .name = "test", .root_module = module, .use_llvm = true, .use_lld = true });
    for (files, programs) |file, *exe| {
        exe.* = program(kit, b.fmt("{s}_{s}", .{ @tagName(kind), std.fs.path.stem(file) }), &.{file});
        exe.*.root_module.addIncludePath(b.path("tests/lib"));
        exe.*.root_module.linkLibrary(lib);
        if (std.mem.endsWith(u8, file, "unit/dump_test.c")) { // the walkers themselves
            addC(exe.*.root_module, sources(b, "tools/leat-dump", .all_but_main));
            addC(exe.*.root_module, &dump_needs);
        }
        if (std.mem.endsWith(u8, file, "/demo_test.c")) linkStatic(exe.*, "sqlite3"); // it counts for itself
    }
    return programs;
}

/// Unsanitized, whatever it runs, and the same one for every kind of run.
fn runner(kit: Kit) *Compile {
    const module = kit.b.createModule(.{
        .target = kit.target,
        .optimize = .Debug,
        .link_libc = true,
        .sanitize_c = .off,
    });
    addC(module, &.{"tests/lib/runner.c"});
    return kit.b.addExecutable(.{ .name = "runner", .root_module = module, .use_llvm = true, .use_lld = true });
}

/// The pure files of shm and group, compiled once more with the explorer's operations under base/atomic.h, and the explorer. Always
/// optimised: what it runs is a state a microsecond.
fn model(kit: Kit, args: ?[]const []const u8) *Run {
    const b = kit.b;
    const module = b.createModule(.{
        .target = kit.target,
        .optimize = .ReleaseFast,
        .link_libc = true,
        .omit_frame_pointer = false,
        .sanitize_c = .off,
    });
    for ([_][]const u8{ "src", "include", "tests" }) |dir| module.addIncludePath(b.path(dir));
    if (kit.target.query.cpu_arch == null) module.addAfterIncludePath(.{ .cwd_relative = "/usr/include" });
    module.addCMacro("LT_MODEL", "1");
    addC(module, list(b, "tests/model", isC));
    addC(module, &.{
        "src/shm/ring.c",     "src/shm/repair.c",   "src/shm/reclaim.c",
        "src/shm/topic.c",    "src/shm/rotation.c", "src/shm/bell.c",
        "src/group/group.c",  "src/group/assign.c", "src/group/roster.c",
        "src/group/sticky.c",
    });
    const exe = b.addExecutable(.{ .name = "model", .root_module = module, .use_llvm = true, .use_lld = true });
    const run = b.addRunArtifact(exe);
    if (args) |typed| run.addArgs(typed);
    return run;
}

fn mutants(kit: Kit, args: ?[]const []const u8) *Run {
    const b = kit.b;
    const module = cModule(kit);
    addC(module, &.{"tests/model/mutate/mutate.c"});
    const exe = b.addExecutable(.{ .name = "mutate", .root_module = module, .use_llvm = true, .use_lld = true });
    const run = b.addRunArtifact(exe);
    run.addArgs(&.{ b.build_root.path orelse ".", "gcc" });
    if (args) |typed| run.addArgs(typed);
    return run;
}

/// The tracer. It builds its tracees itself, with both compilers at two levels: what they are built from, and what a user gets
/// (`kit` is a release) for the rest.
fn stepper(kit: Kit, args: ?[]const []const u8) *Run {
    const b = kit.b;
    const module = cModule(kit);
    module.addIncludePath(b.path("tests/model/step"));
    addC(module, list(b, "tests/model/step", isC));
    module.linkLibrary(kit.core);
    const exe = b.addExecutable(.{ .name = "step", .root_module = module, .use_llvm = true, .use_lld = true });
    const run = b.addRunArtifact(exe);
    run.addArgs(&.{ "--root", b.build_root.path orelse ".", "--gcc", "gcc", "--zig", b.graph.zig_exe });
    run.addArgs(&.{ "--flags", std.mem.join(b.allocator, " ", &c_flags) catch @panic("OOM"), "--rest" });
    run.addArtifactArg(kit.core);
    if (args) |typed| run.addArgs(typed);
    return run;
}

/// The log's own files on a disk in memory. Always optimised: an image takes a fraction of a millisecond.
fn replay(kit: Kit, args: ?[]const []const u8) *Run {
    const b = kit.b;
    const exe = program(kit, "replay", list(b, "tests/replay", isC));
    exe.root_module.addIncludePath(b.path("tests/lib"));
    addC(exe.root_module, &.{ "tests/lib/simdisk.c", "tests/lib/logload.c" });
    const run = b.addRunArtifact(exe);
    if (args) |typed| run.addArgs(typed);
    return run;
}

fn asan(kit: Kit) *Run {
    const run = script(kit.b, ".ci/asan");
    run.addArtifactArg(runner(kit));
    run.addArg("--env=LEAT_TEST_AGAIN=tools/zig build test:asan --");
    addTyped(run);
    return run;
}

// ---------------------------------------------------------------------------------------------------------
// Small helpers.

/// A named step that runs one thing, at every call, on our own terminal.
fn step(b: *std.Build, name: []const u8, description: []const u8, run: *Run) void {
    run.stdio = .inherit;
    run.has_side_effects = true;
    b.step(name, description).dependOn(&run.step);
}

/// Something else that a step runs, first, so that the step's own summary stays the last line.
fn before(b: *std.Build, name: []const u8, run: *Run) void {
    run.stdio = .inherit;
    run.has_side_effects = true;
    b.top_level_steps.get(name).?.step.dependencies.items[0].dependOn(&run.step);
}

/// A bash script of this repository.
fn script(b: *std.Build, path: []const u8) *Run {
    const run = b.addSystemCommand(&.{ "bash", path });
    run.setCwd(b.path("."));
    addZigToPath(run);
    return run;
}

/// For what calls tools/zig in turn, maybe of another work tree: it takes the Zig that runs now.
fn addZigToPath(run: *Run) void {
    run.addPathDir(std.fs.path.dirname(run.step.owner.graph.zig_exe) orelse ".");
}

fn sources(b: *std.Build, dir: []const u8, comptime which: enum { all, all_but_main }) []const []const u8 {
    return list(b, dir, switch (which) {
        .all => isC,
        .all_but_main => isLibraryC,
    });
}

fn isC(name: []const u8) bool {
    return std.mem.endsWith(u8, name, ".c");
}

fn isCOrCpp(name: []const u8) bool {
    return isC(name) or std.mem.endsWith(u8, name, ".cpp");
}

fn isLibraryC(name: []const u8) bool {
    return isC(name) and !std.mem.eql(u8, name, "main.c") and !std.mem.eql(u8, name, "runner.c");
}

fn isTest(name: []const u8) bool {
    return std.mem.endsWith(u8, name, "_test.c");
}

fn isManPage(name: []const u8) bool {
    return name.len > 2 and name[name.len - 2] == '.' and std.mem.indexOfScalar(u8, "13578", name[name.len - 1]) != null;
}

/// The files of one directory that `wanted` wants, sorted, from the root of the tree. No directory, no files.
fn list(b: *std.Build, dir: []const u8, wanted: *const fn ([]const u8) bool) []const []const u8 {
    var found: std.ArrayList([]const u8) = .empty;
    var handle = b.build_root.handle.openDir(dir, .{ .iterate = true }) catch |err| switch (err) {
        error.FileNotFound => return &.{},
        else => std.debug.panic("cannot read {s}: {t}", .{ dir, err }),
    };
    defer handle.close();
    var entries = handle.iterate();
    while (entries.next() catch |err| std.debug.panic("cannot read {s}: {t}", .{ dir, err })) |entry| {
        if (entry.kind == .file and entry.name[0] != '.' and wanted(entry.name))
            found.append(b.allocator, b.fmt("{s}/{s}", .{ dir, entry.name })) catch @panic("OOM");
    }
    std.mem.sort([]const u8, found.items, {}, struct {
        fn before(_: void, a: []const u8, c: []const u8) bool {
            return std.mem.lessThan(u8, a, c);
        }
    }.before);
    return found.items;
}
