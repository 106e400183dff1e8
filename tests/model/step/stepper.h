/* stepper: the parts of the tracer.
 *
 *   main.c       what is asked for, the table
 *   build.c      builds of the tracee, their disassembly, wrong edits
 *   stepper.c    ptrace: from instruction to instruction, back to a state, on to the end
 *   scenarios.c  what happens at each instruction, and what must hold then
 */
#ifndef TESTS_STEPPER_H
#define TESTS_STEPPER_H

#include "step.h"

/* --- build.c --- */

struct instruction {
    uint64_t at; /* as linked */
    const char *text;
    uint32_t function;
    uint32_t seen; /* times stepped */
};

struct function {
    const char *name;
    uint64_t at;
    bool ours; /* of a shipping file that this build compiles */
};

struct build {
    const char *name; /* gcc-O2 */
    const char *compiler, *level;
    char *program;
    char *listing; /* what the texts and names below are in */
    struct instruction *instructions;
    uint32_t instruction_count;
    struct function *functions;
    uint32_t function_count;
    uint64_t main_at;
};

struct toolchain {
    const char *root, *gcc, *zig, *flags, *rest; /* rest: libleat.a, for what no path goes through */
    char work[256];
};

extern struct build builds[];
extern const size_t build_count;

/* Compiles and links; with the edit of that name when it is given. NULL, or why it was not built: `missing` when the compiler
 * is not there. */
const char *build_make(struct build *build, const struct toolchain *tools, const char *mutant, bool *missing);
/* The instruction at an address as linked, or NULL: not in the program, or nothing could disassemble it. */
struct instruction *build_find(const struct build *build, uint64_t at);
/* The names of tests/model/step/mutants.txt; each with the paths that shall notice it. */
struct mutant {
    char name[64];
    char file[64];
    char paths[256];
    char *why, *old, *new;
};
size_t mutants_read(const struct toolchain *tools, struct mutant *mutants, size_t max);

/* --- stepper.c --- */

struct stepped {
    uint32_t instructions; /* executed on the path */
    uint32_t addresses;    /* distinct ones */
    uint64_t checks;
    uint32_t violations;
    uint32_t waits;
    double seconds;
};

struct options {
    uint32_t only_instruction; /* UINT32_MAX: all */
    const char *only_scenario; /* NULL: all */
    const char *mutant;        /* or NULL */
    uint32_t window;           /* instructions between the two halves of a reclaim */
    uint32_t violations_max;
    bool quiet;
};

extern struct world live, copy;

/* Maps the memory. NULL, or why this machine cannot. */
const char *stepper_open(void);
void step_path(struct build *build, const struct path *path, const struct options *options,
               struct stepped *sum);
/* For scenarios: on from here to the end of the section. false: it did not come there, and stepper_fail was called. */
bool stepper_go_on(void);
/* One instruction. false: the section is over. */
bool stepper_step(void);
void stepper_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool stepper_failed(void); /* since the last call of this */

struct state;
struct state *state_new(void);
void state_take(struct state *state);
void state_back(const struct state *state);

/* --- scenarios.c --- */

/* What the tracee did up to here is right, whatever comes. Called at the end of the path. */
void scenarios_check_end(const struct path *path);
/* Everything that can happen at this instruction. Returns how many checks were made. */
uint32_t scenarios_run(const struct path *path, const struct options *options);
const char *scenario_now(void);
/* Whether the path's twist was made: before this instruction, which is the claim's CAS or not. */
bool scenarios_twist(const struct path *path, bool is_claim);
/* A FUTEX_WAIT of the tracee: others do what it waits for. Its result. */
int64_t scenarios_wait(const struct path *path, uint32_t *word, uint32_t value);

#endif
